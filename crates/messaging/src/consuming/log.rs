//! Passes raw records to a log handler, in log order. For the audit trail, which identifies them by topic, partition and
//! offset.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use contracts::codec;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Stopped;
use crate::consuming::handler::{Failure, LogHandler};
use crate::consuming::known_failures::KnownFailures;
use crate::consuming::stub;
use crate::consuming::worker::{AttemptError, Granularity, Processor, age};
use crate::ledger::{Ledger, StoreError, StoreErrorKind};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::Record;

/// Creates the log handler of one partition.
pub(crate) type MakeLog<L> = Arc<dyn Fn() -> Box<dyn AnyLogHandler<L>> + Send + Sync>;

/// A [`LogHandler`] of any type.
pub(crate) trait AnyLogHandler<L: Ledger>: Send {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Result<u64, Failure>>;

    fn stub<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        record: &'a Record,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<L: Ledger, H: LogHandler<L>> AnyLogHandler<L> for H {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(LogHandler::handle(self, unit, records))
    }

    fn stub<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        record: &'a Record,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(LogHandler::stub(self, unit, record, reason))
    }
}

/// Processes a topic that only a log handler consumes.
pub(crate) struct LogProcessor<L: Ledger> {
    make: MakeLog<L>,
    handler: Option<Box<dyn AnyLogHandler<L>>>,
    /// Number of stubs that this transaction logs.
    stubs: u64,
}

impl<L: Ledger> LogProcessor<L> {
    pub(crate) fn new(make: MakeLog<L>) -> Self {
        Self {
            make,
            handler: None,
            stubs: 0,
        }
    }

    /// Logs records. A log never skips a record: a single record that it refused, for the given reason, is logged as a
    /// stub.
    async fn log(
        &mut self,
        unit: &mut Unit<L>,
        records: &[&Record],
        refused: Option<&str>,
    ) -> Result<(), AttemptError> {
        let handler = self.handler.get_or_insert_with(|| (self.make)());
        self.stubs = 0;
        let logged = async {
            let Some(reason) = refused else {
                self.stubs = handler.handle(unit, records).await?;
                return Ok(());
            };
            for record in records {
                handler.stub(unit, record, &stub::describe(record, reason)).await?;
                self.stubs += 1;
            }
            Ok(())
        };
        // A panic is a defect of the log handler, perhaps of a new release. The partition waits with an alarm, because a
        // stub would lose content that could be logged. The rollback discards what the handler left half done.
        let logged = AssertUnwindSafe(logged).catch_unwind().await;
        let logged = logged
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unexpected, "the log handler panicked").into()));
        logged.map_err(AttemptError::Log)
    }

    fn count_stubs(&self, runtime: &Runtime<L>, item: Option<&Record>) {
        if let Some(record) = item {
            let stubs = runtime.metrics.stubs.with_label_values(&[&record.partition.topic]);
            stubs.inc_by(self.stubs);
        }
    }
}

impl<L: Ledger> Processor<L> for LogProcessor<L> {
    type Item = Record;

    async fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Vec<Record>, Stopped> {
        fetch_schemas(runtime, &records, stop).await?;
        Ok(records)
    }

    fn record(item: &Record) -> &Record {
        item
    }

    fn message(_: &Record) -> Option<Uuid> {
        None
    }

    async fn write(
        &mut self,
        _: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Record],
        known: &KnownFailures,
        _: Granularity,
    ) -> Result<(), AttemptError> {
        let refused = known.log_stub_reason().or_else(|| {
            let single = items.first()?;
            known.stub_reason(single.offset)
        });
        self.log(unit, &items.iter().collect::<Vec<_>>(), refused).await
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[Record]) {
        let Some(first) = items.first() else { return };
        self.count_stubs(runtime, Some(first));
        let topic = first.partition.topic.as_str();
        runtime
            .metrics
            .batch_size
            .with_label_values(&[topic])
            .observe(items.len() as f64);
        runtime.metrics.count_messages(topic, "applied", items.len());
        let ages = runtime.metrics.message_age.with_label_values(&[topic]);
        for record in items {
            ages.observe(age(record.timestamp));
        }
    }

    fn invalidate(&mut self) {
        self.handler = None;
    }
}

/// Processes a topic that a log handler and a handler consume.
///
/// Both work in one transaction, because the topic has one position. The log handler runs first, so that the log contains
/// the message when the handler runs.
pub(crate) struct LoggedProcessor<L: Ledger, B> {
    log: LogProcessor<L>,
    inner: B,
}

impl<L: Ledger, B: Processor<L>> LoggedProcessor<L, B> {
    pub(crate) fn new(make: MakeLog<L>, inner: B) -> Self {
        Self {
            log: LogProcessor::new(make),
            inner,
        }
    }
}

impl<L: Ledger, B: Processor<L>> Processor<L> for LoggedProcessor<L, B> {
    type Item = B::Item;

    async fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Vec<B::Item>, Stopped> {
        fetch_schemas(runtime, &records, stop).await?;
        self.inner.prepare(runtime, records, stop).await
    }

    fn record(item: &B::Item) -> &Record {
        B::record(item)
    }

    fn message(item: &B::Item) -> Option<Uuid> {
        B::message(item)
    }

    async fn write(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[B::Item],
        known: &KnownFailures,
        granularity: Granularity,
    ) -> Result<(), AttemptError> {
        let records: Vec<_> = items.iter().map(B::record).collect();
        self.log.log(unit, &records, known.log_stub_reason()).await?;
        self.inner.write(runtime, unit, items, known, granularity).await
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[B::Item]) {
        self.log.count_stubs(runtime, items.first().map(B::record));
        self.inner.committed(runtime, items);
    }

    fn invalidate(&mut self) {
        self.log.invalidate();
        self.inner.invalidate();
    }
}

/// Fetches the schemas that are still unknown; while the registry is unreachable, the partition waits.
async fn fetch_schemas<L: Ledger>(
    runtime: &Runtime<L>,
    records: &[Record],
    stop: &CancellationToken,
) -> Result<(), Stopped> {
    let mut requested = HashSet::new();
    for record in records {
        if let Some(value) = record.value.as_deref()
            && let Err(codec::Error::UnknownSchema(id)) = runtime.codec().record_name(value)
            && requested.insert(id)
        {
            // If the registry does not know the schema either, the handler records that.
            runtime.fetch_schema(id, record, stop).await?;
        }
    }
    Ok(())
}
