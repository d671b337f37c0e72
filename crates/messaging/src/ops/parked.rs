//! Lists and releases parked keys, and discards parked records.

use chassis::error_chain;
use contracts::ops::{DiscardParked, FindParked, ReleaseKey};
use serde_json::json;
use uuid::Uuid;

use super::{Ops, page_size, rejected};
use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;
use crate::consuming::{discard, release};
use crate::ledger::{Ledger, TopicKey};
use crate::ops::status::millis;
use crate::publishing::unit::Unit;

impl<L: Ledger> Ops<L> {
    /// Releases a key in a separate transaction, which may be repeated. The reply belongs to the transaction of `unit`.
    pub(super) async fn release(&self, unit: &mut Unit<L>, command: &ReleaseKey) -> Result<OpsOutcome, Failure> {
        let subscription = self.subscriptions.find(&command.topic);
        let Some(subscription) = subscription.filter(|subscription| subscription.handler.is_some()) else {
            let detail = format!("{} does not handle messages of {}", command.service, command.topic);
            return Ok(rejected("topic-unknown", detail));
        };
        let topic = self.runtime.publisher.topic_name(subscription.topic);
        let key = TopicKey::new(topic, command.parked_key);
        let (ledger, tx) = unit.parts();
        let first = ledger.parked(tx, &key, 0, 1).await?;
        let Some(partition) = first.into_iter().next().map(|first| first.record.partition) else {
            let detail = format!("no message of {} is parked for this key", command.topic);
            return Ok(rejected("not-parked", detail));
        };
        match release::run(&self.runtime, subscription, &partition, &key).await {
            Ok(released) => Ok(OpsOutcome::Done(json!(released))),
            // The failure is replied instead of retried, because later ops commands wait for this one, and an operator can
            // repeat it.
            Err(error) => Ok(rejected("not-released", error.to_string())),
        }
    }

    /// Discards a parked record in a separate transaction, which may be repeated. The reply belongs to the transaction of
    /// `unit`.
    pub(super) async fn discard_parked(
        &self,
        unit: &mut Unit<L>,
        command: &DiscardParked,
    ) -> Result<OpsOutcome, Failure> {
        let DiscardParked {
            service,
            topic,
            parked_key,
            sequence,
            message_id,
            reason,
        } = command;
        if reason.trim().is_empty() {
            let detail = "discarding a parked record requires a reason, for the audit log";
            return Ok(rejected("reason-missing", detail));
        }
        let Some(subscription) = self.subscriptions.find(topic) else {
            return Ok(rejected("topic-unknown", format!("{service} does not consume {topic}")));
        };
        let key = TopicKey::new(self.runtime.publisher.topic_name(subscription.topic), *parked_key);
        let not_parked = || {
            let detail = format!("no record with the number {sequence} is parked for this key of {topic}");
            Ok(rejected("not-parked", detail))
        };
        let (ledger, tx) = unit.parts();
        let first = ledger.parked(tx, &key, *sequence, 1).await?.into_iter().next();
        let Some(record) = first.filter(|record| record.sequence == *sequence) else {
            return not_parked();
        };
        if message_id.is_some_and(|expected| expected != record.id) {
            let detail = format!("the record with the number {sequence} has the message id {}", record.id);
            return Ok(rejected("message-differs", detail));
        }
        let state = match discard::run(&self.runtime, &record).await {
            Ok(Some(state)) => state,
            Ok(None) => return not_parked(),
            Err(error) => return Ok(rejected("not-discarded", error_chain(&error))),
        };
        tracing::warn!(partition = %record.record.partition, offset = record.record.offset, key = %parked_key, sequence,
            message_id = %record.id, reason, "an operator discarded a parked record");
        Ok(OpsOutcome::Done(json!({
            "message_id": record.id,
            "last": state.last,
            "poisoned_at": state.poisoned_at,
        })))
    }

    /// Returns a page of parked keys.
    pub(super) async fn find_parked(&self, unit: &mut Unit<L>, command: &FindParked) -> Result<OpsOutcome, Failure> {
        let publisher = &self.runtime.publisher;
        let after = match command.cursor.as_deref().map(parse_cursor) {
            None => None,
            Some(Some((topic, key))) => Some((publisher.with_prefix(topic), key)),
            Some(None) => {
                return Ok(rejected(
                    "cursor-invalid",
                    "the cursor is not the cursor of an earlier page",
                ));
            }
        };
        let after = after.as_ref().map(|(topic, key)| (topic.as_str(), *key));
        let limit = page_size(command.limit);
        let (ledger, tx) = unit.parts();
        let held = ledger.pending_keys(tx, after, limit).await?;
        let is_full = held.len() as i64 == limit;
        let cursor = held
            .last()
            .filter(|_| is_full)
            .map(|last| format!("{}/{}", publisher.without_prefix(&last.topic), last.key));
        let keys: Vec<_> = held
            .iter()
            .map(|held| {
                json!({
                    "topic": publisher.without_prefix(&held.topic),
                    "key": held.key,
                    "last": held.last,
                    "poisoned_at": held.poisoned_at,
                    "error": held.poisoned_at.map(|_| &held.error),
                    "waiting": held.waiting,
                    "age_ms": millis(held.age),
                })
            })
            .collect();
        Ok(OpsOutcome::Done(json!({ "keys": keys, "cursor": cursor })))
    }
}

/// Parses a cursor, `<topic>/<key>`: the last key of a page.
fn parse_cursor(text: &str) -> Option<(&str, Uuid)> {
    let (topic, key) = text.rsplit_once('/')?;
    Some((topic, key.parse().ok()?))
}
