//! Skips one record of a partition, as a last resort.

use contracts::ops::SkipOffset;
use contracts::topics;
use serde_json::json;

use super::{Ops, rejected};
use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;
use crate::consuming::read;
use crate::ledger::Ledger;
use crate::publishing::unit::Unit;
use crate::wire::record::TopicPartition;

impl<L: Ledger> Ops<L> {
    /// Advances the stored position past the record, in the transaction of the reply. The worker of the partition then
    /// detects that its own position is out of date, and continues from the stored one.
    pub(super) async fn skip(&self, unit: &mut Unit<L>, command: &SkipOffset) -> Result<OpsOutcome, Failure> {
        let SkipOffset {
            service,
            topic,
            partition,
            offset,
            reason,
        } = command;
        if reason.trim().is_empty() {
            return Ok(rejected(
                "reason-missing",
                "a skip requires a reason, for the audit log",
            ));
        }
        let subscription = self.subscriptions.find(topic);
        let Some(subscription) =
            subscription.filter(|subscription| subscription.topic.name != topics::OPS_COMMANDS.name)
        else {
            let detail =
                format!("{service} does not consume {topic}, or this command itself advances the position of {topic}");
            return Ok(rejected("topic-unknown", detail));
        };
        let partition_of_record =
            TopicPartition::new(self.runtime.publisher.topic_name(subscription.topic), *partition);
        // A position past the end would lose a record that is written later.
        let log = match read::log_range(&self.runtime.settings, &partition_of_record).await {
            Ok(log) => log,
            Err(error) => return Ok(rejected("log-unknown", chassis::error_chain(&error))),
        };
        if !log.contains(offset) {
            let detail = format!(
                "{topic}[{partition}] contains the offsets from {} to {}",
                log.start,
                log.end - 1
            );
            return Ok(rejected("record-not-found", detail));
        }
        let is_first = self.is_first_position(&partition_of_record, *offset, log.start).await?;
        let expected = (!is_first).then_some(*offset);
        let (ledger, tx) = unit.parts();
        match (
            ledger.advance(tx, &partition_of_record, expected, offset + 1).await?,
            expected,
        ) {
            (true, _) => {}
            // The worker wrote the first position concurrently. MongoDB has ended the transaction.
            (false, None) => {
                return Err(Failure::Conflict(
                    "a concurrent transaction wrote the first position of the partition".into(),
                ));
            }
            (false, Some(_)) => {
                let detail = format!(
                    "the position of {service} on {topic}[{partition}] is not {offset}; `rollcall lag --partitions` \
                     lists the positions"
                );
                return Ok(rejected("position-differs", detail));
            }
        }
        tracing::warn!(partition = %partition_of_record, offset, reason, "an operator skipped a record");
        Ok(OpsOutcome::Done(json!({ "position": offset + 1 })))
    }

    /// Returns `true` if the record is the first of the log, and the service has no position there yet.
    async fn is_first_position(&self, partition: &TopicPartition, offset: i64, start: i64) -> Result<bool, Failure> {
        if offset != start {
            return Ok(false);
        }
        let positions = self.runtime.ledger.positions(std::slice::from_ref(partition)).await?;
        Ok(positions.is_empty())
    }
}
