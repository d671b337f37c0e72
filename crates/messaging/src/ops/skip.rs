//! The last resort for a partition: its service is moved past one record.

use contracts::ops::SkipOffset;
use contracts::topics;
use serde_json::json;

use super::{Operations, no};
use crate::handler::Failure;
use crate::ledger::Ledger;
use crate::operator::Operated;
use crate::record::TopicPartition;
use crate::unit::Unit;

impl<L: Ledger> Operations<L> {
    /// Moves the stored position past the record, in the transaction of the reply. The partition's worker then finds its
    /// own position out of date, and continues from the stored one.
    pub(super) async fn skip(&self, unit: &mut Unit<L>, command: &SkipOffset) -> Result<Operated, Failure> {
        let SkipOffset {
            service,
            topic,
            partition,
            offset,
            reason,
        } = command;
        if reason.trim().is_empty() {
            return Ok(no("reason-missing", "a skip needs a reason, for the audit log"));
        }
        let entry = self.entries.iter().find(|entry| entry.topic.name == topic);
        let Some(entry) = entry.filter(|entry| entry.topic.name != topics::OPS_COMMANDS.name) else {
            let detail = format!("{service} does not consume {topic}, or its position moves with this command");
            return Ok(no("topic-unknown", detail));
        };
        let place = TopicPartition::new(self.runtime.publisher.topic_name(entry.topic), *partition);
        let (ledger, tx) = unit.parts();
        // The expected position is never `None`: MongoDB would end the transaction if there was one.
        if !ledger
            .advance(tx, &place, Some(*offset), offset.saturating_add(1))
            .await?
        {
            let detail = format!(
                "the position of {service} on {topic}[{partition}] is not {offset}; `rollcall lag --partitions` lists \
                 the positions"
            );
            return Ok(no("position-differs", detail));
        }
        tracing::warn!(partition = %place, offset, reason, "an operator skipped a record");
        Ok(Operated::Done(json!({ "position": offset.saturating_add(1) })))
    }
}
