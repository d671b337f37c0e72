//! Domain events: they are applied completely and in order per key.

use std::collections::HashMap;

use contracts::dead_letters::DeadLetterReason;
use uuid::Uuid;

use super::{Part, Transaction, arrivals};
use crate::consuming::any_handler::AnyMessage;
use crate::consuming::arrival::{Arrival, Content, decode, error_of, sequenced};
use crate::consuming::attempt_error::AttemptError;
use crate::consuming::handler::Failure;
use crate::consuming::release::Released;
use crate::consuming::sequence::{Sequenced, Sequencer};
use crate::consuming::stub;
use crate::consuming::subscription::Subscription;
use crate::ledger::{Ledger, Parked, Sequence, TopicKey};
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

/// Number of parked messages that are loaded together.
const PAGE: i64 = 100;
/// Maximum number of parked messages that one transaction applies.
const MAX_LOADED: usize = 1_000;
/// The same for their bytes.
const MAX_LOADED_BYTES: usize = 16 << 20;

/// Where a message is: in the batch, or among the parked messages that were loaded.
#[derive(Debug, Clone, Copy)]
enum Source {
    Batch(usize),
    Parked(usize),
}

/// The messages of one topic in one transaction.
struct Sequencing<'a, L: Ledger> {
    subscription: &'a Subscription<L>,
    topic: &'a str,
    batch: Vec<&'a Arrival>,
    /// Parked messages that were loaded.
    parked: Vec<Arrival>,
    loaded_bytes: usize,
    sequencer: Sequencer<Source>,
}

impl<L: Ledger> Sequencing<'_, L> {
    fn arrival(&self, source: Source) -> &Arrival {
        match source {
            Source::Batch(index) => self.batch[index],
            Source::Parked(index) => &self.parked[index],
        }
    }

    fn is_full(&self) -> bool {
        self.parked.len() >= MAX_LOADED || self.loaded_bytes >= MAX_LOADED_BYTES
    }
}

impl<L: Ledger> Transaction<'_, L> {
    /// Applies the domain events of one topic. `stored` has the progress of their keys.
    ///
    /// The next number of a key is applied, followed by the messages that wait for it. A lower number is a duplicate, a
    /// higher one is parked.
    pub(super) async fn apply_in_order(
        &mut self,
        topic: &[Part<'_, L>],
        stored: Option<&HashMap<Uuid, Sequence>>,
    ) -> Result<(), AttemptError> {
        let mut sequencing = Sequencing {
            subscription: topic[0].subscription,
            topic: &topic[0].partition.topic,
            batch: arrivals(topic).collect(),
            parked: Vec::new(),
            loaded_bytes: 0,
            sequencer: Sequencer::new(),
        };
        for (index, arrival) in arrivals(topic).enumerate() {
            if let Content::Dead { reason, detail, .. } = &arrival.content {
                self.dead_letter(sequencing.subscription, arrival, *reason, detail)?;
            }
            if let Some(message) = sequenced(arrival, Source::Batch(index), self.known) {
                let stored = stored.and_then(|stored| stored.get(&message.key)).copied();
                sequencing.sequencer.accept(message, stored);
            }
        }
        self.apply_decided(&mut sequencing).await?;
        while let Some((key, from)) = sequencing.sequencer.to_load() {
            if sequencing.is_full() {
                // The records of all topics count, because the position moves back only for a single record.
                if !self.is_single {
                    return Err(AttemptError::TooLarge);
                }
                sequencing.sequencer.stop_loading();
                self.complete = false;
                break;
            }
            self.apply_parked(&mut sequencing, key, from).await?;
        }
        self.finish_sequencing(&mut sequencing, stored).await
    }

    /// Continues a key after its poison message was fixed: applies its parked messages, up to the next poison message or
    /// the limit of one transaction.
    pub(crate) async fn release_key(
        &mut self,
        subscription: &Subscription<L>,
        partition: &TopicPartition,
        topic_key: &TopicKey,
    ) -> Result<Released, AttemptError> {
        let TopicKey { topic, key } = topic_key;
        let (ledger, tx) = self.unit.parts();
        ledger.lock_position(tx, partition).await?;
        let stored: HashMap<_, _> = ledger
            .sequences(tx, std::slice::from_ref(topic_key))
            .await?
            .into_iter()
            .map(|(row, sequence)| (row.key, sequence))
            .collect();
        let Some(state) = stored.get(key).filter(|state| state.poisoned_at.is_some()) else {
            return Ok(Released::default());
        };
        let mut sequencing = Sequencing {
            subscription,
            topic,
            batch: Vec::new(),
            parked: Vec::new(),
            loaded_bytes: 0,
            sequencer: Sequencer::new(),
        };
        sequencing.sequencer.release(*key, *state);
        while let Some((key, from)) = sequencing.sequencer.to_load() {
            if sequencing.is_full() {
                sequencing.sequencer.stop_release();
                self.complete = false;
                break;
            }
            self.apply_parked(&mut sequencing, key, from).await?;
        }
        let before = state.last;
        self.finish_sequencing(&mut sequencing, Some(&stored)).await?;
        let after = self
            .bookkeeping
            .changed_sequences
            .last()
            .map_or(*state, |(_, row)| *row);
        self.write_bookkeeping().await?;
        Ok(Released {
            applied: usize::try_from(after.last - before).unwrap_or(0),
            poisoned_at: after.poisoned_at,
        })
    }

    /// Loads a page of parked messages, and applies those that are next.
    async fn apply_parked(
        &mut self,
        sequencing: &mut Sequencing<'_, L>,
        key: Uuid,
        from: i64,
    ) -> Result<(), AttemptError> {
        let topic_key = TopicKey::new(sequencing.topic, key);
        let (ledger, tx) = self.unit.parts();
        let rows = ledger.parked(tx, &topic_key, from, PAGE).await?;
        let is_last = (rows.len() as i64) < PAGE;
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            sequencing.loaded_bytes += row.record.bytes();
            let arrival = decode_parked(self.runtime, sequencing.subscription, row).await?;
            messages.extend(sequenced(&arrival, Source::Parked(sequencing.parked.len()), self.known));
            sequencing.parked.push(arrival);
        }
        sequencing.sequencer.load(key, messages, is_last);
        self.apply_decided(sequencing).await
    }

    /// Applies the messages that were decided since the last call.
    async fn apply_decided(&mut self, sequencing: &mut Sequencing<'_, L>) -> Result<(), AttemptError> {
        let apply = std::mem::take(&mut sequencing.sequencer.decided.apply);
        let messages: Vec<&dyn AnyMessage> = apply
            .iter()
            .filter_map(|message| sequencing.arrival(message.item).message())
            .collect();
        self.handle(sequencing.subscription, sequencing.topic, &messages).await
    }

    /// Parks the messages that wait, and collects the sequences.
    async fn finish_sequencing(
        &mut self,
        sequencing: &mut Sequencing<'_, L>,
        stored: Option<&HashMap<Uuid, Sequence>>,
    ) -> Result<(), AttemptError> {
        let topic = sequencing.topic;
        let rows = sequencing.sequencer.finish();
        let decided = std::mem::take(&mut sequencing.sequencer.decided);
        let counts = self.counts(topic);
        counts.duplicates += decided.duplicates;
        counts.gaps += decided.gaps;
        let mut park = Vec::with_capacity(decided.park.len());
        for message in &decided.park {
            let arrival = sequencing.arrival(message.item);
            let error = error_of(arrival, message.id, self.known);
            if !error.is_empty() {
                tracing::error!(topic, key = %message.key, sequence = message.sequence, error,
                    "a key is parked until an operator releases it");
            }
            let (record, error) = stub::storable(&arrival.record, &error, self.known, &mut self.counts(topic).stubs);
            park.push(Parked {
                key: message.key,
                sequence: message.sequence,
                id: message.id,
                record,
                error,
            });
        }
        let unpark = decided.unpark.iter();
        let unpark = unpark.map(|(key, sequence)| (TopicKey::new(topic, *key), *sequence));
        self.bookkeeping.unpark.extend(unpark);
        let taken = self.park(&park).await?;
        // Parked messages are loaded only when they are next, so the store finds these forks.
        let is_fork =
            |message: &&Sequenced<Source>| taken.contains(&(TopicKey::new(topic, message.key), message.sequence));
        for fork in decided.forks.iter().chain(decided.park.iter().filter(is_fork)) {
            self.fork(sequencing, fork)?;
        }
        self.set_sequences(topic, stored, rows);
        Ok(())
    }

    /// Dead-letters a fork and raises an alert: consumers have applied or parked another domain event under this sequence
    /// than the producer's journal contains.
    fn fork(&mut self, sequencing: &Sequencing<'_, L>, fork: &Sequenced<Source>) -> Result<(), AttemptError> {
        let topic = sequencing.topic;
        tracing::error!(topic, key = %fork.key, sequence = fork.sequence, message_id = %fork.id,
            "a domain event has the sequence of an earlier one but another id: was the producer restored from a backup?");
        self.counts(topic).forks += 1;
        let detail = format!("sequence {} arrived before under another id", fork.sequence);
        let arrival = sequencing.arrival(fork.item);
        self.dead_letter(sequencing.subscription, arrival, DeadLetterReason::Fork, &detail)
    }

    /// Collects the rows of `sequences` that changed. Those that are not in `stored` are new.
    pub(super) fn set_sequences(
        &mut self,
        topic: &str,
        stored: Option<&HashMap<Uuid, Sequence>>,
        rows: impl IntoIterator<Item = (Uuid, Sequence)>,
    ) {
        for (key, row) in rows {
            let is_new = stored.is_none_or(|stored| !stored.contains_key(&key));
            let row = (TopicKey::new(topic, key), row);
            if is_new {
                self.bookkeeping.new_sequences.push(row);
            } else {
                self.bookkeeping.changed_sequences.push(row);
            }
        }
    }
}

/// Decodes a parked record again, because an unreadable one may be readable now.
async fn decode_parked<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    row: Parked,
) -> Result<Arrival, AttemptError> {
    let missing = match decode(runtime, subscription, row.record) {
        Ok(arrival) => return Ok(arrival),
        Err(missing) => missing,
    };
    // The schema was fetched when the message arrived, but perhaps by another process.
    match runtime.try_fetch_schema(missing.id).await {
        Ok(true) => {
            let decoded = decode(runtime, subscription, missing.arrival.record);
            Ok(decoded.unwrap_or_else(|missing| missing.arrival))
        }
        Ok(false) => Ok(missing.arrival),
        Err(error) => Err(Failure::retry(error).into()),
    }
}
