//! Raw records in log order, for the audit trail: identified by topic, partition and offset.

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
use crate::consuming::worker::{Body, Setback, Taking, age};
use crate::ledger::{Ledger, StoreError, StoreErrorKind};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::Record;

/// Makes the log handler of one partition.
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

/// The records of a topic, for a log alone.
pub(crate) struct Log<L: Ledger> {
    make: MakeLog<L>,
    handler: Option<Box<dyn AnyLogHandler<L>>>,
    /// Stubs in this transaction.
    stubs: u64,
}

impl<L: Ledger> Log<L> {
    pub(crate) fn new(make: MakeLog<L>) -> Self {
        Self {
            make,
            handler: None,
            stubs: 0,
        }
    }

    /// Logs records. A log skips nothing: a single record that it refused for the given reason is logged as a stub.
    async fn log(&mut self, unit: &mut Unit<L>, records: &[&Record], refused: Option<&str>) -> Result<(), Setback> {
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
        // A log handler panics because of its own mistake, perhaps that of a new release, so the partition waits with an
        // alarm, because a stub would lose content that could be logged. What it left half done is thrown away.
        let logged = AssertUnwindSafe(logged).catch_unwind().await;
        let logged = logged
            .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unexpected, "the log's handler panicked").into()));
        logged.map_err(Setback::Unlogged)
    }

    fn count_stubs(&self, runtime: &Runtime<L>, item: Option<&Record>) {
        if let Some(record) = item {
            let stubs = runtime.metrics.stubs.with_label_values(&[&record.partition.topic]);
            stubs.inc_by(self.stubs);
        }
    }
}

impl<L: Ledger> Body<L> for Log<L> {
    type Item = Record;

    async fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Vec<Record>, Stopped> {
        learn(runtime, &records, stop).await?;
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
        _: Taking,
    ) -> Result<(), Setback> {
        let refused = known.log_refusal().or_else(|| {
            let single = items.first()?;
            known.record_refusal(single.offset)
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
        runtime.metrics.handled(topic, "applied", items.len());
        let ages = runtime.metrics.message_age.with_label_values(&[topic]);
        for record in items {
            ages.observe(age(record.timestamp));
        }
    }

    fn forget(&mut self) {
        self.handler = None;
    }
}

/// A topic that is logged and handled too, in one transaction, since it has one position. The log comes
/// first: what the handler is asked is in the log when it answers.
pub(crate) struct Logged<L: Ledger, B> {
    log: Log<L>,
    body: B,
}

impl<L: Ledger, B: Body<L>> Logged<L, B> {
    pub(crate) fn new(make: MakeLog<L>, body: B) -> Self {
        Self {
            log: Log::new(make),
            body,
        }
    }
}

impl<L: Ledger, B: Body<L>> Body<L> for Logged<L, B> {
    type Item = B::Item;

    async fn prepare(
        &mut self,
        runtime: &Runtime<L>,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Vec<B::Item>, Stopped> {
        learn(runtime, &records, stop).await?;
        self.body.prepare(runtime, records, stop).await
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
        taking: Taking,
    ) -> Result<(), Setback> {
        let records: Vec<_> = items.iter().map(B::record).collect();
        self.log.log(unit, &records, known.log_refusal()).await?;
        self.body.write(runtime, unit, items, known, taking).await
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[B::Item]) {
        self.log.count_stubs(runtime, items.first().map(B::record));
        self.body.committed(runtime, items);
    }

    fn forget(&mut self) {
        self.log.forget();
        self.body.forget();
    }
}

/// Fetches the schemas that are met for the first time; while the registry is down, the partition waits.
async fn learn<L: Ledger>(runtime: &Runtime<L>, records: &[Record], stop: &CancellationToken) -> Result<(), Stopped> {
    let mut asked = HashSet::new();
    for record in records {
        if let Some(value) = record.value.as_deref()
            && let Err(codec::Error::UnknownSchema(id)) = runtime.codec().record_name(value)
            && asked.insert(id)
        {
            // One that the registry does not know either is the handler's to note.
            runtime.learn(id, record, stop).await?;
        }
    }
    Ok(())
}
