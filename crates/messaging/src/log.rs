//! Raw records in log order, for the audit trail: identified by topic, partition and offset.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::handler::LogHandler;
use crate::ledger::Ledger;
use crate::record::Record;
use crate::runtime::Runtime;
use crate::unit::Unit;
use crate::worker::{Body, Setback, Stopped, Taking, Verdicts, age};

pub(crate) struct Log<H> {
    make: Arc<dyn Fn() -> H + Send + Sync>,
    handler: Option<H>,
}

impl<H> Log<H> {
    pub(crate) fn new(make: Arc<dyn Fn() -> H + Send + Sync>) -> Self {
        Self { make, handler: None }
    }
}

impl<L: Ledger, H: LogHandler<L>> Body<L> for Log<H> {
    type Item = Record;

    async fn prepare(
        &mut self,
        _: &Runtime<L>,
        records: Vec<Record>,
        _: &CancellationToken,
    ) -> Result<Vec<Record>, Stopped> {
        Ok(records)
    }

    fn offset(item: &Record) -> i64 {
        item.offset
    }

    async fn write(
        &mut self,
        _: &Runtime<L>,
        unit: &mut Unit<L>,
        items: &[Record],
        _: &Verdicts,
        _: Taking,
    ) -> Result<(), Setback> {
        let handler = self.handler.get_or_insert_with(|| (self.make)());
        // No message to blame: a log skips nothing, so every failure is tried again.
        handler
            .handle(unit, items)
            .await
            .map_err(|failure| Setback::Failed { message: None, failure })
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
