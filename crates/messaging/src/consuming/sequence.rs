//! Decides which domain events of a batch are applied, parked and dropped, without a store.
//!
//! Per (topic, key), messages are numbered 1, 2, 3… without gaps. In the log they may be repeated and out of order. They
//! are applied completely and in order.

use std::collections::{BTreeMap, HashMap, HashSet};

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

/// The decisions for one batch. The pipeline executes them in one transaction.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    /// The messages to apply, in this order.
    pub(crate) apply: Vec<Sequenced<T>>,
    /// The messages to park.
    pub(crate) park: Vec<Sequenced<T>>,
    /// Rows of `parked` to delete before rows are parked: their messages are applied, or parked again.
    pub(crate) unpark: Vec<(Uuid, i64)>,
    /// The rows of `sequences` that changed.
    pub(crate) sequences: Vec<(Uuid, Sequence)>,
    pub(crate) duplicates: Vec<T>,
    /// Messages whose sequence is taken by another id: the producer was restored from a backup.
    pub(crate) forks: Vec<Sequenced<T>>,
    /// Number of messages that arrived before an earlier one of their key.
    pub(crate) gaps: usize,
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self {
            apply: Vec::new(),
            park: Vec::new(),
            unpark: Vec::new(),
            sequences: Vec::new(),
            duplicates: Vec::new(),
            forks: Vec::new(),
            gaps: 0,
        }
    }
}

struct Key<T> {
    state: Sequence,
    waiting: BTreeMap<i64, (Sequenced<T>, Stored)>,
    touched: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stored {
    /// The message is a row of `parked` already.
    Yes,
    No,
}

/// Decides for one batch of one topic, in log order.
///
/// `stored` holds the rows of the batch's keys, `parked` all parked messages of those keys that are not poisoned. The next
/// sequence is applied, followed by the parked messages up to the next gap; a lower one is a duplicate; a higher one is
/// parked.
pub(crate) fn plan<T: Copy>(
    stored: &HashMap<Uuid, Sequence>,
    parked: Vec<Sequenced<T>>,
    batch: impl IntoIterator<Item = Sequenced<T>>,
) -> Plan<T> {
    let mut plan = Plan::default();
    let mut order = Vec::new();
    let mut keys: HashMap<Uuid, Key<T>> = HashMap::new();
    let key_of = |key: Uuid| Key {
        state: stored.get(&key).copied().unwrap_or_default(),
        waiting: BTreeMap::new(),
        touched: false,
    };

    for message in parked {
        keys.entry(message.key)
            .or_insert_with(|| key_of(message.key))
            .waiting
            .insert(message.sequence, (message, Stored::Yes));
    }
    let mut seen = HashSet::new();
    for message in batch {
        if seen.insert(message.key) {
            order.push(message.key);
        }
        let key = keys.entry(message.key).or_insert_with(|| key_of(message.key));
        accept(key, message, &mut plan);
    }
    // Rows are written in the order in which the keys occur in the batch. No other worker locks them, because all records
    // of a key are in one partition.
    for id in order {
        let key = keys.remove(&id).expect("every key of the batch was entered");
        finish(id, key, &mut plan);
    }
    plan
}

/// Continues a key after its poison message was fixed: applies its parked messages in order, up to the next poison
/// message.
pub(crate) fn release<T: Copy>(key: Uuid, mut state: Sequence, parked: Vec<Sequenced<T>>) -> Plan<T> {
    state.poisoned_at = None;
    let mut plan = Plan::default();
    let mut key_state = Key {
        state,
        waiting: parked
            .into_iter()
            .map(|message| (message.sequence, (message, Stored::Yes)))
            .collect(),
        touched: true,
    };
    drain(&mut key_state, &mut plan);
    finish(key, key_state, &mut plan);
    plan
}

fn accept<T: Copy>(key: &mut Key<T>, message: Sequenced<T>, plan: &mut Plan<T>) {
    if message.sequence <= key.state.last {
        let fork = message.sequence == key.state.last && key.state.last_id.is_some_and(|id| id != message.id);
        if fork {
            plan.forks.push(message);
        } else {
            plan.duplicates.push(message.item);
        }
        return;
    }
    if let Some((waiting, _)) = key.waiting.get(&message.sequence) {
        if waiting.id == message.id {
            plan.duplicates.push(message.item);
        } else {
            plan.forks.push(message);
        }
        return;
    }
    key.touched = true;
    if message.sequence > key.state.last + 1 && key.state.poisoned_at.is_none() {
        plan.gaps += 1;
    }
    key.waiting.insert(message.sequence, (message, Stored::No));
    drain(key, plan);
}

/// Applies the next message and those that wait for it, up to a gap or a poison message.
fn drain<T: Copy>(key: &mut Key<T>, plan: &mut Plan<T>) {
    while key.state.poisoned_at.is_none() {
        let next = key.state.last + 1;
        let Some((message, stored)) = key.waiting.remove(&next) else {
            return;
        };
        if message.poison {
            key.state.poisoned_at = Some(next);
            // The message is parked again, so that its row contains the error.
            if stored == Stored::Yes {
                plan.unpark.push((message.key, next));
            }
            key.waiting.insert(next, (message, Stored::No));
            return;
        }
        if stored == Stored::Yes {
            plan.unpark.push((message.key, next));
        }
        key.state.last = next;
        key.state.last_id = Some(message.id);
        plan.apply.push(message);
    }
}

fn finish<T: Copy>(id: Uuid, key: Key<T>, plan: &mut Plan<T>) {
    if !key.touched {
        return;
    }
    let mut state = key.state;
    // The rows of a poisoned key are not loaded, so `waiting` does not show them.
    state.has_parked = state.poisoned_at.is_some() || !key.waiting.is_empty();
    plan.park.extend(
        key.waiting
            .into_values()
            .filter(|(_, stored)| *stored == Stored::No)
            .map(|(message, _)| message),
    );
    plan.sequences.push((id, state));
}
