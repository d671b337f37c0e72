//! Lists and releases parked keys.

use contracts::ops::{FindParked, ReleaseKey};
use serde_json::json;
use uuid::Uuid;

use super::{Ops, page_size, rejected};
use crate::consuming::handler::Failure;
use crate::consuming::ops_handler::OpsOutcome;
use crate::consuming::release;
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
