//! Sequences: domain events are applied completely and in order per key, whatever the order of the log.

use super::{Config, Fault, KEYS, Message};

/// The progress of both keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Progress {
    /// The highest number that was applied.
    pub(super) last: [u8; KEYS],
    /// The numbers that are parked, as bits.
    pub(super) parked: [u8; KEYS],
    /// The number of the poison message behind which the key is parked, or 0.
    pub(super) poisoned: [u8; KEYS],
}

impl Progress {
    /// Writes the differences between what a transaction read and what it wants to store.
    pub(super) fn merge(&mut self, read: &Self, new: &Self) {
        for key in 0..KEYS {
            if new.last[key] != read.last[key] {
                self.last[key] = new.last[key];
            }
            let deleted = read.parked[key] & !new.parked[key];
            let inserted = new.parked[key] & !read.parked[key];
            self.parked[key] = (self.parked[key] & !deleted) | inserted;
            if new.poisoned[key] != read.poisoned[key] {
                self.poisoned[key] = new.poisoned[key];
            }
        }
    }
}

/// What one transaction changes.
pub(super) struct Change {
    pub(super) progress: Progress,
    pub(super) applied: Vec<Message>,
    /// The keys whose rows were written or locked.
    pub(super) touched: [bool; KEYS],
    /// The key whose parked messages are left to another transaction, which is a fault.
    pub(super) left: Option<u8>,
}

impl Change {
    pub(super) fn new(read: &Progress) -> Self {
        Self {
            progress: read.clone(),
            applied: Vec::new(),
            touched: [false; KEYS],
            left: None,
        }
    }
}

/// The bit of a number.
pub(super) fn bit(number: u8) -> u8 {
    1 << (number - 1)
}

impl Config {
    /// Accepts the next record: applies it with the parked messages behind it, drops it, or parks it.
    pub(super) fn accept(&self, is_fixed: bool, change: &mut Change, (key, number): Message) {
        let k = usize::from(key);
        change.touched[k] = true;
        let last = change.progress.last[k];
        if number <= last {
            if self.has(Fault::DuplicateIsApplied) {
                change.applied.push((key, number));
            }
            return;
        }
        // The service has no handler for the type of the second message.
        if self.has(Fault::FilterBeforeTheSequence) && number == 2 {
            return;
        }
        if change.progress.poisoned[k] != 0 {
            change.progress.parked[k] |= bit(number);
            return;
        }
        let is_next = number == last + 1
            || self.has(Fault::GapIsSkipped)
            || (self.has(Fault::FirstNumberIsTheStart) && last == 0);
        if !is_next {
            change.progress.parked[k] |= bit(number);
        } else if self.handle(is_fixed, change, (key, number)) {
            if !self.has(Fault::ParkedInAnotherTransaction) {
                self.drain(is_fixed, change, key);
            } else if change.progress.parked[k] & bit(number + 1) != 0 {
                change.left = Some(key);
            }
        }
    }

    /// Applies the parked messages of a key, up to the next gap or poison message.
    pub(super) fn drain(&self, is_fixed: bool, change: &mut Change, key: u8) {
        let k = usize::from(key);
        loop {
            let progress = &change.progress;
            let last = progress.last[k];
            let is_next_parked = progress.poisoned[k] == 0 && last < 8 && progress.parked[k] & bit(last + 1) != 0;
            if !is_next_parked || !self.handle(is_fixed, change, (key, last + 1)) {
                return;
            }
        }
    }

    /// Applies one message. Returns `false` if it is poison, which parks its key.
    fn handle(&self, is_fixed: bool, change: &mut Change, (key, number): Message) -> bool {
        let k = usize::from(key);
        let progress = &mut change.progress;
        if !is_fixed && self.poison.contains(&(key, number)) {
            if !self.has(Fault::UndecodableIsDropped) {
                progress.poisoned[k] = number;
                progress.parked[k] |= bit(number);
            }
            return false;
        }
        progress.last[k] = number;
        progress.parked[k] &= !bit(number);
        change.applied.push((key, number));
        true
    }
}
