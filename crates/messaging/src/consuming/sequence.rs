//! Decides which domain events of a batch are applied, parked and dropped, without a store.
//!
//! Per (topic, key), messages are numbered 1, 2, 3… without gaps. In the log they may be repeated and out of order. They
//! are applied completely and in order.
//!
//! The messages of the batch come first. Parked messages are loaded afterwards, page by page, and only for keys whose
//! missing message has arrived, because many messages may wait behind a gap.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::ledger::Sequence;

/// One message with a sequence. `T` is the caller's handle to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequenced<T> {
    pub(crate) key: Uuid,
    pub(crate) sequence: i64,
    pub(crate) id: Uuid,
    /// The message cannot be applied: it and the later messages of its key wait for an operator.
    pub(crate) poison: bool,
    pub(crate) item: T,
}

/// The decisions for the messages of one topic in one transaction.
#[derive(Debug)]
pub(crate) struct Sequencer<T> {
    keys: HashMap<Uuid, Key<T>>,
    /// The keys in the order in which they occurred. Rows are written in this order.
    order: Vec<Uuid>,
    pub(crate) decided: Decided<T>,
}

/// What was decided since the caller last took it.
#[derive(Debug)]
pub(crate) struct Decided<T> {
    /// The messages to apply, in this order.
    pub(crate) apply: Vec<Sequenced<T>>,
    /// The messages to park. A parked message that turned out to be poison is parked again with its error.
    pub(crate) park: Vec<Sequenced<T>>,
    /// Parked records to delete before records are parked: their messages are applied, or parked again.
    pub(crate) unpark: Vec<(Uuid, i64)>,
    /// Messages whose sequence is taken by another id: the producer was restored from a backup.
    pub(crate) forks: Vec<Sequenced<T>>,
    pub(crate) duplicates: usize,
    /// Number of messages that arrived before an earlier one of their key.
    pub(crate) gaps: usize,
}

impl<T> Default for Decided<T> {
    fn default() -> Self {
        Self {
            apply: Vec::new(),
            park: Vec::new(),
            unpark: Vec::new(),
            forks: Vec::new(),
            duplicates: 0,
            gaps: 0,
        }
    }
}

#[derive(Debug)]
struct Key<T> {
    state: Sequence,
    /// Messages that wait for an earlier one. They are not stored yet.
    waiting: BTreeMap<i64, Sequenced<T>>,
    /// `true` if the store may contain parked messages of this key that were not loaded.
    has_stored: bool,
    /// `true` if the parked messages from `state.last + 1` on must be loaded.
    to_load: bool,
    changed: bool,
}

impl<T: Copy> Sequencer<T> {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            order: Vec::new(),
            decided: Decided::default(),
        }
    }

    /// Decides for the next message of the batch. `stored` is the stored progress of its key.
    ///
    /// The next number is applied, a lower one is a duplicate, a higher one waits.
    pub(crate) fn accept(&mut self, message: Sequenced<T>, stored: Option<Sequence>) {
        let decided = &mut self.decided;
        let key = self.keys.entry(message.key).or_insert_with(|| {
            self.order.push(message.key);
            Key::new(stored.unwrap_or_default())
        });
        if message.sequence <= key.state.last {
            let is_newest = message.sequence == key.state.last;
            if is_newest && key.state.last_id.is_some_and(|id| id != message.id) {
                decided.forks.push(message);
            } else {
                decided.duplicates += 1;
                // An earlier transaction may have applied only a part of the parked messages behind this one.
                key.request_parked();
            }
            return;
        }
        if let Some(waiting) = key.waiting.get(&message.sequence) {
            if waiting.id == message.id {
                decided.duplicates += 1;
            } else {
                decided.forks.push(message);
            }
            return;
        }
        key.changed = true;
        if message.sequence > key.state.last + 1 && key.state.poisoned_at.is_none() {
            decided.gaps += 1;
        }
        key.waiting.insert(message.sequence, message);
        if key.has_stored {
            // Only the missing message is applied immediately. The messages behind it may be parked already.
            if !key.to_load && key.apply_next(decided) {
                key.request_parked();
            }
        } else {
            while key.apply_next(decided) {}
        }
    }

    /// Continues a key after its poison message was fixed: its parked messages are to be loaded.
    pub(crate) fn release(&mut self, id: Uuid, stored: Sequence) {
        let mut key = Key::new(stored);
        key.state.poisoned_at = None;
        key.has_stored = true;
        key.changed = true;
        key.request_parked();
        self.keys.insert(id, key);
        self.order.push(id);
    }

    /// Returns a key whose parked messages must be loaded, and the first number to load.
    pub(crate) fn to_load(&self) -> Option<(Uuid, i64)> {
        let id = self.order.iter().find(|id| self.keys[id].to_load)?;
        Some((*id, self.keys[id].state.last + 1))
    }

    /// Decides for parked messages of a key, which were loaded in the order of their numbers. `is_last` states that the
    /// store has no further ones.
    pub(crate) fn load(&mut self, id: Uuid, parked: Vec<Sequenced<T>>, is_last: bool) {
        let decided = &mut self.decided;
        let key = self
            .keys
            .get_mut(&id)
            .expect("parked messages were requested for this key");
        let mut parked = parked.into_iter().peekable();
        while key.state.poisoned_at.is_none() {
            let next = key.state.last + 1;
            match parked.next_if(|row| row.sequence == next) {
                Some(row) => {
                    // The message may have arrived again in this batch.
                    if let Some(copy) = key.waiting.insert(next, row) {
                        if copy.id == row.id {
                            decided.duplicates += 1;
                        } else {
                            decided.forks.push(copy);
                        }
                    }
                    decided.unpark.push((id, next));
                    key.changed = true;
                }
                // The next page may contain it.
                None if parked.peek().is_none() && !is_last => break,
                None => {}
            }
            if !key.apply_next(decided) {
                break;
            }
        }
        let is_read = parked.peek().is_none();
        key.has_stored = !(is_read && is_last);
        key.to_load = is_read && !is_last && key.state.poisoned_at.is_none();
    }

    /// Stops loading parked messages, because the transaction has become large enough.
    pub(crate) fn stop_loading(&mut self) {
        for key in self.keys.values_mut() {
            key.to_load = false;
        }
    }

    /// Stops a release in the same way. The key stays parked from the next number on, so that it can be released again.
    pub(crate) fn stop_release(&mut self) {
        for key in self.keys.values_mut() {
            if std::mem::take(&mut key.to_load) {
                key.state.poisoned_at = Some(key.state.last + 1);
            }
        }
    }

    /// Parks the messages that wait, and returns the rows of `sequences` that changed.
    pub(crate) fn finish(&mut self) -> Vec<(Uuid, Sequence)> {
        let mut rows = Vec::new();
        for id in std::mem::take(&mut self.order) {
            let key = self.keys.remove(&id).expect("every key is in the order once");
            if !key.changed {
                continue;
            }
            let has_parked = key.has_stored || !key.waiting.is_empty();
            rows.push((
                id,
                Sequence {
                    has_parked,
                    ..key.state
                },
            ));
            self.decided.park.extend(key.waiting.into_values());
        }
        rows
    }
}

impl<T: Copy> Key<T> {
    fn new(state: Sequence) -> Self {
        Self {
            state,
            waiting: BTreeMap::new(),
            has_stored: state.has_parked,
            to_load: false,
            changed: false,
        }
    }

    fn request_parked(&mut self) {
        self.to_load = self.has_stored && self.state.poisoned_at.is_none();
    }

    /// Applies the next message if it waits. Returns `false` if it does not, or if it is poison.
    fn apply_next(&mut self, decided: &mut Decided<T>) -> bool {
        let next = self.state.last + 1;
        if self.state.poisoned_at.is_some() {
            return false;
        }
        let Some(message) = self.waiting.remove(&next) else {
            return false;
        };
        if message.poison {
            self.state.poisoned_at = Some(next);
            self.waiting.insert(next, message);
            return false;
        }
        self.state.last = next;
        self.state.last_id = Some(message.id);
        self.changed = true;
        decided.apply.push(message);
        true
    }
}
