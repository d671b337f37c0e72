//! Raw records in log order, for the audit trail: identified by topic, partition and offset.

use std::collections::HashSet;
use std::sync::Arc;

use contracts::codec;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::handler::{Failure, LogHandler};
use crate::ledger::Ledger;
use crate::record::Record;
use crate::runtime::Runtime;
use crate::unit::Unit;
use crate::worker::{Body, Setback, Stopped, Taking, Verdicts, age};

/// Makes the log handler of one partition.
pub(crate) type MakeLog<L> = Arc<dyn Fn() -> Box<dyn AnyLogHandler<L>> + Send + Sync>;

/// A [`LogHandler`] of any type.
pub(crate) trait AnyLogHandler<L: Ledger>: Send {
    fn handle<'a>(&'a mut self, unit: &'a mut Unit<L>, records: &'a [&'a Record])
    -> BoxFuture<'a, Result<(), Failure>>;
}

impl<L: Ledger, H: LogHandler<L>> AnyLogHandler<L> for H {
    fn handle<'a>(
        &'a mut self,
        unit: &'a mut Unit<L>,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(LogHandler::handle(self, unit, records))
    }
}

/// The records of a topic, for a log alone.
pub(crate) struct Log<L: Ledger> {
    make: MakeLog<L>,
    handler: Option<Box<dyn AnyLogHandler<L>>>,
}

impl<L: Ledger> Log<L> {
    pub(crate) fn new(make: MakeLog<L>) -> Self {
        Self { make, handler: None }
    }

    async fn log(&mut self, unit: &mut Unit<L>, records: &[&Record]) -> Result<(), Setback> {
        let handler = self.handler.get_or_insert_with(|| (self.make)());
        // No message to blame: a log skips nothing, so every failure is tried again.
        handler
            .handle(unit, records)
            .await
            .map_err(|failure| Setback::Failed { message: None, failure })
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

    async fn write(
        &mut self,
        _: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Record],
        _: &Verdicts,
        _: Taking,
    ) -> Result<(), Setback> {
        self.log(unit, &items.iter().collect::<Vec<_>>()).await
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[Record]) {
        let Some(first) = items.first() else { return };
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

    async fn write(
        &mut self,
        runtime: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[B::Item],
        verdicts: &Verdicts,
        taking: Taking,
    ) -> Result<(), Setback> {
        self.log
            .log(unit, &items.iter().map(B::record).collect::<Vec<_>>())
            .await?;
        self.body.write(runtime, unit, items, verdicts, taking).await
    }

    fn committed(&mut self, runtime: &Runtime<L>, items: &[B::Item]) {
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
    for value in records.iter().filter_map(|record| record.value.as_deref()) {
        if let Err(codec::Error::UnknownSchema(id)) = runtime.codec().record_name(value)
            && asked.insert(id)
        {
            // One that the registry does not know either is the handler's to note.
            runtime.learn(id, stop).await?;
        }
    }
    Ok(())
}
