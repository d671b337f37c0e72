//! Commands, replies and facts: each takes effect once, in any order.

use std::collections::HashSet;

use contracts::Kind;
use contracts::dead_letters::DeadLetterReason;
use uuid::Uuid;

use super::{Part, Transaction, arrivals, by_topic};
use crate::consuming::any_handler::AnyMessage;
use crate::consuming::arrival::{Arrival, Content, error_of};
use crate::consuming::attempt_error::AttemptError;
use crate::consuming::known_failures::KnownFailure;
use crate::consuming::subscription::Subscription;
use crate::ledger::{InboxEntry, Ledger};
use crate::wire::envelope::Envelope;

/// The messages that the inbox did not contain: `ce_id` and attempt.
pub(super) type Fresh = HashSet<(Uuid, i32)>;

impl<L: Ledger> Transaction<'_, L> {
    /// Inserts the messages of all topics whose messages take effect once.
    pub(super) async fn insert_inbox(&mut self, parts: &[Part<'_, L>]) -> Result<Fresh, AttemptError> {
        let topics = by_topic(parts).filter(|topic| {
            matches!(
                topic[0].subscription.kind(),
                Kind::Commands | Kind::Replies | Kind::Facts
            )
        });
        let entries: Vec<_> = topics
            .flat_map(arrivals)
            .filter(|arrival| !matches!(arrival.content, Content::Unhandled(_)))
            .filter_map(Arrival::envelope)
            .map(|envelope| InboxEntry {
                id: envelope.id,
                attempt: envelope.attempt,
                since: envelope.since(),
            })
            .collect();
        if entries.is_empty() {
            return Ok(Fresh::new());
        }
        let (ledger, tx) = self.unit.parts();
        Ok(ledger.insert_inbox(tx, &entries).await?)
    }

    /// Applies the messages of one topic that are in `fresh`.
    pub(super) async fn apply_once(&mut self, topic: &[Part<'_, L>], fresh: &mut Fresh) -> Result<(), AttemptError> {
        let subscription = topic[0].subscription;
        // Each id is removed when it is met, because a second copy in the same batch is a duplicate too.
        let mut first = |envelope: &Envelope| fresh.remove(&(envelope.id, envelope.attempt));
        let mut apply: Vec<&dyn AnyMessage> = Vec::new();
        for arrival in arrivals(topic) {
            match &arrival.content {
                // Only domain events can be `Unreadable`.
                Content::Raw | Content::Unhandled(_) | Content::Unreadable(..) => {}
                Content::Dead {
                    reason,
                    detail,
                    envelope,
                } => {
                    if envelope.as_deref().is_none_or(&mut first) {
                        self.dead_letter(subscription, arrival, *reason, detail)?;
                    }
                }
                Content::Message(message) if !first(message.envelope()) => {
                    self.counts(&arrival.record.partition.topic).duplicates += 1;
                }
                Content::Message(message) => {
                    if self.is_to_apply(subscription, arrival, message.as_ref())? {
                        apply.push(message.as_ref());
                    }
                }
            }
        }
        self.handle(subscription, &topic[0].partition.topic, &apply).await
    }

    /// Returns `true` if the handler is called with the message. Otherwise the message has expired or failed before, and
    /// this writes its outcome.
    fn is_to_apply(
        &mut self,
        subscription: &Subscription<L>,
        arrival: &Arrival,
        message: &dyn AnyMessage,
    ) -> Result<bool, AttemptError> {
        let envelope = message.envelope();
        let is_command = subscription.kind() == Kind::Commands;
        match self.known.get(&envelope.id) {
            None if is_command && self.runtime.has_expired(envelope) => {
                let detail = "the command is older than the inbox retention, so it may have been executed already";
                self.dead_letter(subscription, arrival, DeadLetterReason::Expired, detail)?;
            }
            None => return Ok(true),
            Some(KnownFailure::Poison(error)) => {
                self.dead_letter(subscription, arrival, DeadLetterReason::Poison, error)?;
            }
            Some(KnownFailure::Defer(rejection)) if is_command => {
                let handler_type = subscription.handler.as_ref().expect("a message has a handler");
                handler_type
                    .defer(&mut self.unit, message, rejection)
                    .map_err(|error| AttemptError::of_message(envelope, error))?;
            }
            Some(KnownFailure::Reject(rejection)) if is_command => {
                self.unit
                    .reject_command(envelope, &message.cause(), rejection)
                    .map_err(|error| AttemptError::of_message(envelope, error))?;
            }
            Some(KnownFailure::Defer(_) | KnownFailure::Reject(_)) => {
                let error = error_of(arrival, envelope.id, self.known);
                self.dead_letter(subscription, arrival, DeadLetterReason::Poison, &error)?;
            }
        }
        Ok(false)
    }
}
