//! Consumers of domain events: two processes of one service, its database, and one or two partitions.
//!
//! Alone, the log is adversarial: it contains every message at least once, in any order, with a limited number of
//! duplicates. Behind a producer, the log is the one that the producer writes.

mod release;
mod sequences;
mod worker;

use self::release::Release;
use self::sequences::{Change, Progress, bit};
use self::worker::{Transaction, Worker};
use crate::explorer::{Model, Steps};

/// Number of keys.
const KEYS: usize = 2;
/// Number of partitions that a state has room for.
const PARTITIONS: usize = 2;

/// A domain event: its key and its number, from 1.
pub(crate) type Message = (u8, u8);

/// A rule that is left out, or a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The transaction does not compare the stored position with the expected one.
    PositionNotCompared,
    /// A position that does not match stops the worker instead of making it read the position.
    MismatchStopsTheWorker,
    /// The position moves in a transaction before the one with the effects.
    PositionMovesFirst,
    /// After a rollback, the worker continues with later records.
    RollbackSkipsTheBatch,
    /// The first number that arrives counts as the start of its key.
    FirstNumberIsTheStart,
    /// A number that is too high is applied instead of parked.
    GapIsSkipped,
    /// A number that is too low is applied.
    DuplicateIsApplied,
    /// Types without a handler are filtered before the numbers are checked.
    FilterBeforeTheSequence,
    /// Parked messages are applied in a transaction after the one with the missing message.
    ParkedInAnotherTransaction,
    /// A message that cannot be decoded is dead-lettered, and its key is not parked.
    UndecodableIsDropped,
    /// A release and the worker of the partition do not take turns.
    ReleaseWithoutPositionLock,
    /// Parking does not lock the row of the key in `sequences`.
    SequenceRowNotLocked,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Number of messages of each key.
    pub(crate) messages: [u8; KEYS],
    /// Messages that cannot be applied until an operator fixes the handler.
    pub(crate) poison: &'static [Message],
    pub(crate) partitions: usize,
    /// Maximum number of records of a transaction.
    pub(crate) batch: u8,
    /// `false` if first occurrences are in the log in the order of their numbers.
    pub(crate) any_order: bool,
    pub(crate) budget: Budget,
    pub(crate) fault: Option<Fault>,
}

impl Config {
    pub(crate) const DEFAULT: Self = Self {
        messages: [3, 0],
        poison: &[],
        partitions: 1,
        batch: 2,
        any_order: true,
        budget: Budget::NONE,
        fault: None,
    };
}

/// The number of times that each disturbance can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) rebalances: u8,
    pub(crate) duplicates: u8,
    pub(crate) rollbacks: u8,
    /// Commits that succeed, although the process receives no confirmation.
    pub(crate) unknown_commits: u8,
}

impl Budget {
    pub(crate) const NONE: Self = Self {
        crashes: 0,
        rebalances: 0,
        duplicates: 0,
        rollbacks: 0,
        unknown_commits: 0,
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    budget: Budget,
    /// The partitions, if the log is adversarial.
    logs: [Vec<Message>; PARTITIONS],
    /// The messages of each key that are in a log at least once, as bits.
    sent: [u8; KEYS],
    /// The process to which the group assigns each partition.
    owners: [u8; PARTITIONS],
    processes: [Process; 2],
    /// The stored positions.
    positions: [u8; PARTITIONS],
    /// The stored sequences and parked messages.
    progress: Progress,
    /// The numbers that took effect, in this order.
    effects: [Vec<u8>; KEYS],
    /// The poison messages can be applied from now on.
    is_fixed: bool,
    release: Option<Release>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    is_alive: bool,
    workers: [Worker; PARTITIONS],
}

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(crate) fn initial_state(&self) -> State {
        let process = Process {
            is_alive: true,
            workers: Default::default(),
        };
        State {
            budget: self.budget,
            logs: Default::default(),
            sent: [0; KEYS],
            owners: [0, u8::from(self.partitions > 1)],
            processes: [process.clone(), process],
            positions: [0; PARTITIONS],
            progress: Progress::default(),
            effects: Default::default(),
            is_fixed: false,
            release: None,
        }
    }

    pub(crate) fn violated_guarantee(state: &State) -> Option<&'static str> {
        for (effects, last) in state.effects.iter().zip(state.progress.last) {
            if !effects.iter().copied().eq(1..=effects.len() as u8) {
                return Some("effects are no prefix of 1, 2, 3");
            }
            if usize::from(last) != effects.len() {
                return Some("the sequence differs from the effects");
            }
        }
        None
    }

    /// Returns `true` if `messages` of each key took effect, and none is parked.
    pub(crate) fn has_applied(state: &State, messages: [usize; KEYS]) -> bool {
        let progress = &state.progress;
        (0..KEYS).all(|key| usize::from(progress.last[key]) == messages[key] && progress.parked[key] == 0)
    }

    /// Adds all steps except those that append to the log. `first` is the log of the first partition.
    pub(crate) fn consume(&self, state: &State, first: &[Message], steps: &mut Steps<State>) {
        self.repair(state, steps);
        self.release(state, steps);
        for process in 0..2 {
            self.process(state, process, first, steps);
        }
        self.coordinate(state, steps);
    }

    /// An operator deploys a handler that can apply the poison messages.
    fn repair(&self, state: &State, steps: &mut Steps<State>) {
        if !state.is_fixed && !self.poison.is_empty() {
            steps.add(state, ("repair", 0, 0), |next| next.is_fixed = true);
        }
    }

    fn process(&self, state: &State, process: usize, first: &[Message], steps: &mut Steps<State>) {
        if !state.processes[process].is_alive {
            steps.add(state, ("restart", process, 0), |next| {
                next.processes[process].is_alive = true;
            });
            return;
        }
        if state.budget.crashes > 0 {
            steps.add(state, ("crash", process, 0), |next| {
                next.budget.crashes -= 1;
                next.processes[process] = Process {
                    is_alive: false,
                    workers: Default::default(),
                };
            });
        }
        for partition in 0..self.partitions {
            let log = if partition == 0 { first } else { &state.logs[partition] };
            self.work(state, process, partition, log, steps);
        }
    }

    /// The group coordinator moves partitions to the other process.
    fn coordinate(&self, state: &State, steps: &mut Steps<State>) {
        for partition in 0..self.partitions {
            let owner = usize::from(state.owners[partition]);
            let other = 1 - owner;
            if !state.processes[other].is_alive {
                continue;
            }
            if state.budget.rebalances > 0 {
                steps.add(state, ("rebalance", other, partition), |next| {
                    next.budget.rebalances -= 1;
                    next.owners[partition] = other as u8;
                });
            }
            if !state.processes[owner].is_alive {
                steps.add(state, ("fail over", other, partition), |next| {
                    next.owners[partition] = other as u8;
                });
            }
        }
    }

    /// Appends messages to an adversarial log.
    fn append(&self, state: &State, steps: &mut Steps<State>) {
        for key in 0..KEYS {
            for number in 1..=self.messages[key] {
                let is_sent = |number| state.sent[key] & bit(number) != 0;
                let is_duplicate = is_sent(number);
                let is_early = !self.any_order && !is_duplicate && number > 1 && !is_sent(number - 1);
                if is_early || (is_duplicate && state.budget.duplicates == 0) {
                    continue;
                }
                for partition in 0..self.partitions {
                    let name = if is_duplicate { "duplicate" } else { "append" };
                    steps.add(state, (name, key, usize::from(number)), |next| {
                        next.budget.duplicates -= u8::from(is_duplicate);
                        next.sent[key] |= bit(number);
                        next.logs[partition].push((key as u8, number));
                    });
                }
            }
        }
    }
}

impl State {
    /// Writes what a transaction changed, as the statements of a store do: only the changed rows.
    fn write(&mut self, read: &Progress, change: &Change) {
        self.progress.merge(read, &change.progress);
        for key in 0..KEYS {
            if change.touched[key] {
                for transaction in self.transactions() {
                    transaction.row_changed[key] = true;
                }
                if let Some(release) = &mut self.release {
                    release.row_changed[key] = true;
                }
            }
        }
        for (key, number) in &change.applied {
            self.effects[usize::from(*key)].push(*number);
        }
    }

    /// Returns the open transactions of all workers.
    fn transactions(&mut self) -> impl Iterator<Item = &mut Transaction> {
        let workers = self.processes.iter_mut().flat_map(|process| &mut process.workers);
        workers.filter_map(|worker| worker.transaction.as_mut())
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        self.initial_state()
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        Self::violated_guarantee(state)
    }

    fn is_done(&self, state: &State) -> bool {
        let is_read = |partition: usize| usize::from(state.positions[partition]) == state.logs[partition].len();
        Self::has_applied(state, self.messages.map(usize::from))
            && state.progress.poisoned == [0; KEYS]
            && (0..self.partitions).all(is_read)
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        self.append(state, steps);
        self.consume(state, &state.logs[0], steps);
    }
}
