//! State messages: the newest version wins, an older one is dropped, and gaps are normal.

use std::collections::{BTreeMap, HashMap};

use contracts::dead_letters::DeadLetterReason;
use uuid::Uuid;

use super::{Part, Transaction, arrivals};
use crate::consuming::any_handler::AnyMessage;
use crate::consuming::arrival::{Content, error_of};
use crate::consuming::attempt_error::AttemptError;
use crate::ledger::{Ledger, Sequence};

impl<L: Ledger> Transaction<'_, L> {
    /// Applies the state messages of one topic. `stored` has the progress of their keys.
    pub(super) async fn apply_newest(
        &mut self,
        topic: &[Part<'_, L>],
        stored: Option<&HashMap<Uuid, Sequence>>,
    ) -> Result<(), AttemptError> {
        let subscription = topic[0].subscription;
        let name = &topic[0].partition.topic;
        let mut newest: BTreeMap<Uuid, Sequence> = BTreeMap::new();
        let mut apply: Vec<&dyn AnyMessage> = Vec::new();
        for arrival in arrivals(topic) {
            let message = match &arrival.content {
                Content::Message(message) => message,
                Content::Raw | Content::Unhandled(_) | Content::Unreadable(..) => continue,
                Content::Dead { reason, detail, .. } => {
                    self.dead_letter(subscription, arrival, *reason, detail)?;
                    continue;
                }
            };
            let envelope = message.envelope();
            let version = envelope.sequence.unwrap_or(0);
            let current = newest.get(&envelope.key).or_else(|| stored?.get(&envelope.key));
            if current.is_some_and(|current| version <= current.last) {
                self.counts(name).duplicates += 1;
                continue;
            }
            let state = Sequence {
                last: version,
                last_id: Some(envelope.id),
                ..Sequence::default()
            };
            newest.insert(envelope.key, state);
            match self.known.get(&envelope.id) {
                None => apply.push(message.as_ref()),
                Some(_) => {
                    let error = error_of(arrival, envelope.id, self.known);
                    self.dead_letter(subscription, arrival, DeadLetterReason::Poison, &error)?;
                }
            }
        }
        self.handle(subscription, name, &apply).await?;
        self.set_sequences(name, stored, newest);
        Ok(())
    }
}
