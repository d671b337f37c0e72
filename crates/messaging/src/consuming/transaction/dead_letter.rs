//! Records that are stored instead of applied.

use contracts::dead_letters::{DeadLetterFact, DeadLetterReason, MessageDeadLettered};
use contracts::{Kind, Timestamp};
use uuid::Uuid;

use super::Transaction;
use crate::consuming::arrival::Arrival;
use crate::consuming::attempt_error::AttemptError;
use crate::consuming::stub;
use crate::consuming::subscription::Subscription;
use crate::ledger::{DeadLetter, Ledger};
use crate::wire::message::{Cause, Outgoing};

impl<L: Ledger> Transaction<'_, L> {
    /// Dead-letters a record: stores it with its raw bytes and publishes `MessageDeadLettered`.
    ///
    /// For a command whose envelope names a reply topic, also publishes a `CommandFailed` reply.
    pub(super) fn dead_letter(
        &mut self,
        subscription: &Subscription<L>,
        arrival: &Arrival,
        reason: DeadLetterReason,
        detail: &str,
    ) -> Result<(), AttemptError> {
        let record = &arrival.record;
        let topic = &record.partition.topic;
        let envelope = arrival.envelope();
        let id = Uuid::now_v7();
        tracing::error!(partition = %record.partition, offset = record.offset, ?reason, detail, dead_letter = %id,
            "a record was dead-lettered");
        let (stored, detail) = stub::storable(record, detail, self.known, &mut self.counts(topic).stubs);
        let cause = match envelope {
            Some(envelope) => Cause::of(envelope),
            None => Cause::origin(id, None, opentelemetry::Context::new()),
        };
        let announcement = MessageDeadLettered {
            service: self.runtime.service.to_owned(),
            topic: self.runtime.publisher.without_prefix(topic).to_owned(),
            partition: record.partition.partition,
            offset: record.offset,
            message_id: envelope.map(|envelope| envelope.id),
            message_type: envelope.map(|envelope| envelope.type_name.clone()),
            reason,
            detail: detail.clone(),
            dead_lettered_at: Timestamp::now(),
        };
        self.unit
            .publish(&cause, Outgoing::<DeadLetterFact>::new(id, announcement))?;
        if let (Kind::Commands, Some(envelope)) = (subscription.kind(), envelope) {
            let code = match reason {
                DeadLetterReason::Expired => "expired",
                _ => "not-executable",
            };
            let detail = format!("The command could not be executed. It is stored as dead letter {id}.");
            self.unit.fail(envelope, code, &detail)?;
        }
        self.counts(topic).dead.push(reason);
        self.bookkeeping.dead_letters.push(DeadLetter {
            id,
            reason,
            detail,
            record: stored,
        });
        Ok(())
    }
}
