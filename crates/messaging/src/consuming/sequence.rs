//! Order and duplicates of domain events: what to apply, park and drop, decided without a store.
//!
//! Per (topic, key) messages are numbered 1, 2, 3… without gaps. On the log they may repeat and stand
//! out of order; what is applied is complete and in order.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::ledger::Sequence;

/// One numbered message: `T` is the caller's handle to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered<T> {
    pub(crate) key: Uuid,
    pub(crate) sequence: i64,
    pub(crate) id: Uuid,
    /// It can't be applied: it and what follows it of its key must wait for an operator.
    pub(crate) poison: bool,
    pub(crate) item: T,
}

/// What to do with a batch. Written by the pipeline in one transaction.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    /// In the order to apply them.
    pub(crate) apply: Vec<Numbered<T>>,
    pub(crate) park: Vec<Numbered<T>>,
    /// Applied from `parked`, or parked anew: their rows go, before rows are parked.
    pub(crate) unpark: Vec<(Uuid, i64)>,
    /// The rows that changed.
    pub(crate) sequences: Vec<(Uuid, Sequence)>,
    pub(crate) duplicates: Vec<T>,
    /// The same number under another id: the producer was restored from a backup.
    pub(crate) forks: Vec<Numbered<T>>,
    /// Messages that arrived ahead of their turn.
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
    waiting: BTreeMap<i64, (Numbered<T>, Stored)>,
    touched: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stored {
    /// Already a row of `parked`.
    Yes,
    No,
}

/// Decides for one batch of one topic, in log order.
///
/// `stored` holds the rows of the batch's keys; `parked` everything that waits for those of them that
/// are not poisoned. Next is applied and drains what waits behind it, lower is a duplicate, higher parks.
pub(crate) fn plan<T: Copy>(
    stored: &HashMap<Uuid, Sequence>,
    parked: Vec<Numbered<T>>,
    batch: impl IntoIterator<Item = Numbered<T>>,
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
        take(key, message, &mut plan);
    }
    // Keys in the order the batch met them: the rows are locked in that order by nobody else, since a
    // key lives in one partition.
    for id in order {
        let key = keys.remove(&id).expect("every key of the batch was entered");
        finish(id, key, &mut plan);
    }
    plan
}

/// Continues a key whose poison message was mended: everything that waits, in order, up to the next one.
pub(crate) fn release<T: Copy>(key: Uuid, mut state: Sequence, parked: Vec<Numbered<T>>) -> Plan<T> {
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

fn take<T: Copy>(key: &mut Key<T>, message: Numbered<T>, plan: &mut Plan<T>) {
    if message.sequence <= key.state.last {
        let fork = message.sequence == key.state.last && key.state.last_id.is_some_and(|id| id != message.id);
        match fork {
            true => plan.forks.push(message),
            false => plan.duplicates.push(message.item),
        }
        return;
    }
    if let Some((waiting, _)) = key.waiting.get(&message.sequence) {
        match waiting.id == message.id {
            true => plan.duplicates.push(message.item),
            false => plan.forks.push(message),
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

/// Applies what is next, and what waited for it, up to a gap or a poison message.
fn drain<T: Copy>(key: &mut Key<T>, plan: &mut Plan<T>) {
    while key.state.poisoned_at.is_none() {
        let next = key.state.last + 1;
        let Some((message, stored)) = key.waiting.remove(&next) else {
            return;
        };
        if message.poison {
            key.state.poisoned_at = Some(next);
            // Parked anew, so that its row says what is wrong with it.
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
