//! Draining in steps: a lane applies a record behind which more messages are parked than one transaction applies.
//!
//! A transaction that contains only this record applies a part of the parked messages, and moves the position back to the
//! record before it commits. The record is then applied again: it is a duplicate now, and the parked messages behind it are
//! drained further. Two processes with one lane each share the partition of the record and one of another topic.

use crate::explorer::{Model, Steps};

const PROCESSES: usize = 2;
const PARTITIONS: usize = 2;
/// The partition of the domain events. The other one has a single record of another topic.
const DOMAIN_EVENTS: usize = 0;
const OTHER: usize = 1;
/// The numbers that are parked at the beginning, as bits. Number 1 is missing.
const PARKED: u8 = 0b1110;
/// Number of the domain events of the key.
const NUMBERS: u8 = 5;
/// Maximum number of parked messages that one transaction applies.
const LIMIT: u8 = 1;

/// A rule that is left out, or a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A step leaves the position behind the record.
    StepMovesThePosition,
    /// A second transaction moves the position back.
    PositionMovesBackInAnotherTransaction,
    /// A duplicate does not drain the parked messages behind it.
    DuplicateDoesNotDrain,
    /// A record counts as the only one of its transaction although the transaction contains a record of another topic. Its
    /// position then stays behind the record.
    OtherTopicsAreNotCounted,
}

/// The use of caches by the handler of the domain events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// The handler reads what it needs in each transaction.
    None,
    /// The handler keeps state between transactions, as long as the position that the lane knows is the stored one.
    ByPosition,
    /// In addition, the lane drops the state when a duplicate continues to drain.
    ByPositionAndDrain,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// The numbers of the domain events in the log. Number 1 comes first.
    pub(crate) log: &'static [u8],
    pub(crate) caching: Caching,
    pub(crate) budget: Budget,
    pub(crate) fault: Option<Fault>,
}

/// The number of times that each disturbance can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) rebalances: u8,
    /// Commits that succeed, although the process receives no confirmation.
    pub(crate) unknown_commits: u8,
    pub(crate) crashes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The process to which the group assigns each partition.
    owners: [u8; PARTITIONS],
    stored: Stored,
    lanes: [Lane; PROCESSES],
    budget: Budget,
    violation: Option<Violation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stored {
    positions: [u8; PARTITIONS],
    /// The highest number that was applied.
    last: u8,
    /// The numbers that are parked, as bits.
    parked: u8,
    /// The number of times that the other record took effect.
    other: u8,
}

/// The lane of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Lane {
    is_assigned: [bool; PARTITIONS],
    /// The stored positions, as far as the lane knows.
    positions: [u8; PARTITIONS],
    /// What the handler has in memory: the highest number that it has applied.
    cache: Option<u8>,
    transaction: Option<Batch>,
    /// The position to which another transaction moves, which is a fault.
    moves_back_to: Option<u8>,
}

/// The records of a transaction, as from and to for each partition.
type Batch = [(u8, u8); PARTITIONS];

/// A violation that a step detects, because it is not visible in the state after the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Violation {
    StaleCache,
    PositionWentBack,
}

/// Returns the partitions of which a batch contains records.
fn included(batch: &Batch) -> impl Iterator<Item = usize> {
    (0..PARTITIONS).filter(|partition| batch[*partition].0 != batch[*partition].1)
}

/// What a transaction would commit.
struct Applied {
    stored: Stored,
    cache: Option<u8>,
    /// `false` if the record must be applied again.
    is_complete: bool,
    is_stale: bool,
}

/// The batch contains other records as well, so the lane must split it.
struct TooLarge;

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn batches(&self, lane: &Lane) -> Vec<Batch> {
        let waiting = |partition: usize, end: usize| {
            let from = lane.positions[partition];
            let end = if lane.is_assigned[partition] { end as u8 } else { from };
            (from..=end.max(from)).map(move |to| (from, to))
        };
        let other: Vec<_> = waiting(OTHER, 1).collect();
        let batches =
            waiting(DOMAIN_EVENTS, self.log.len()).flat_map(|events| other.iter().map(move |other| [events, *other]));
        batches.filter(|batch| included(batch).next().is_some()).collect()
    }

    /// Applies a batch to what is stored. The positions were compared.
    fn apply(&self, stored: &Stored, cache: Option<u8>, batch: &Batch) -> Result<Applied, TooLarge> {
        let mut applied = Applied {
            stored: stored.clone(),
            cache: cache.filter(|_| self.caching != Caching::None),
            is_complete: true,
            is_stale: false,
        };
        for partition in included(batch) {
            applied.stored.positions[partition] = batch[partition].1;
        }
        let (from, to) = batch[DOMAIN_EVENTS];
        let mut drains = false;
        for number in &self.log[usize::from(from)..usize::from(to)] {
            drains |= self.accept(&mut applied, *number);
        }
        let others = batch[OTHER].1 - batch[OTHER].0;
        applied.stored.other += others;
        let mut drained = 0;
        while drains && applied.stored.parked & (1 << applied.stored.last) != 0 {
            if drained == LIMIT {
                let is_single = to - from == 1 && (others == 0 || self.has(Fault::OtherTopicsAreNotCounted));
                if !is_single {
                    return Err(TooLarge);
                }
                applied.is_complete = false;
                let moves_back = others == 0
                    && !self.has(Fault::StepMovesThePosition)
                    && !self.has(Fault::PositionMovesBackInAnotherTransaction);
                if moves_back {
                    applied.stored.positions[DOMAIN_EVENTS] = from;
                }
                break;
            }
            applied.handle();
            drained += 1;
        }
        Ok(applied)
    }

    /// Accepts a record. Returns `true` if the parked messages are to be drained.
    fn accept(&self, applied: &mut Applied, number: u8) -> bool {
        let last = applied.stored.last;
        if number <= last {
            if self.caching == Caching::ByPositionAndDrain {
                applied.cache = None;
            }
            return !self.has(Fault::DuplicateDoesNotDrain);
        }
        applied.stored.parked |= 1 << (number - 1);
        if number == last + 1 {
            applied.handle();
            return true;
        }
        false
    }

    fn end(&self, state: &State, process: usize, batch: &Batch, steps: &mut Steps<State>) {
        let is_stored = |partition: usize| state.stored.positions[partition] == batch[partition].0;
        if !included(batch).all(is_stored) {
            steps.add(state, ("mismatch", process, 0), |next| {
                next.read_positions(process, batch)
            });
            return;
        }
        let Ok(applied) = self.apply(&state.stored, state.lanes[process].cache, batch) else {
            steps.add(state, ("too large", process, 0), |next| {
                next.lanes[process].transaction = None;
                next.lanes[process].cache = None;
            });
            return;
        };
        let mut committed = state.clone();
        committed.stored = applied.stored.clone();
        committed.lanes[process].transaction = None;
        committed.lanes[process].cache = None;
        if applied.is_stale {
            committed.violation = Some(Violation::StaleCache);
        }
        let name = if applied.is_complete { "commit" } else { "commit step" };
        steps.add(&committed, (name, process, 0), |next| {
            let lane = &mut next.lanes[process];
            lane.cache = applied.cache;
            if applied.is_complete || self.has(Fault::StepMovesThePosition) {
                for partition in included(batch) {
                    lane.positions[partition] = batch[partition].1;
                }
            } else if self.has(Fault::PositionMovesBackInAnotherTransaction) {
                lane.moves_back_to = Some(batch[DOMAIN_EVENTS].0);
            }
        });
        if state.budget.unknown_commits > 0 {
            steps.add(&committed, ("commit, unknown", process, 0), |next| {
                next.budget.unknown_commits -= 1;
            });
        }
    }

    fn follow_assignment(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        for partition in 0..PARTITIONS {
            let is_owner = usize::from(state.owners[partition]) == process;
            let is_assigned = state.lanes[process].is_assigned[partition];
            if is_owner && !is_assigned {
                steps.add(state, ("assign", process, partition), |next| {
                    let lane = &mut next.lanes[process];
                    lane.is_assigned[partition] = true;
                    lane.positions[partition] = state.stored.positions[partition];
                    lane.cache = None;
                });
            }
            // An open transaction continues: the process is a zombie.
            if !is_owner && is_assigned {
                steps.add(state, ("revoke", process, partition), |next| {
                    next.lanes[process].is_assigned[partition] = false;
                });
            }
        }
    }
}

impl Applied {
    /// Applies the next number, which is parked or has just arrived.
    fn handle(&mut self) {
        self.is_stale |= self.cache.is_some_and(|cache| cache != self.stored.last);
        self.stored.parked &= !(1 << self.stored.last);
        self.stored.last += 1;
        self.cache = Some(self.stored.last);
    }
}

impl State {
    /// Reads the positions that do not match.
    fn read_positions(&mut self, process: usize, batch: &Batch) {
        let lane = &mut self.lanes[process];
        lane.transaction = None;
        lane.cache = None;
        for partition in included(batch) {
            let stored = self.stored.positions[partition];
            if stored < lane.positions[partition] {
                self.violation = Some(Violation::PositionWentBack);
            }
            lane.positions[partition] = stored;
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            owners: [0, 0],
            stored: Stored {
                positions: [0; PARTITIONS],
                last: 0,
                parked: PARKED,
                other: 0,
            },
            lanes: Default::default(),
            budget: self.budget,
            violation: None,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if state.stored.other > 1 {
            return Some("a record took effect twice");
        }
        state.violation.map(|violation| match violation {
            Violation::StaleCache => "a handler used an outdated cache",
            Violation::PositionWentBack => "a stored position went back",
        })
    }

    fn is_done(&self, state: &State) -> bool {
        let Stored {
            positions,
            last,
            parked,
            other,
        } = &state.stored;
        (*last, *parked, *other) == (NUMBERS, 0, 1)
            && *positions == [self.log.len() as u8, 1]
            && state
                .lanes
                .iter()
                .all(|lane| lane.transaction.is_none() && lane.moves_back_to.is_none())
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        for partition in 0..PARTITIONS {
            if state.budget.rebalances > 0 {
                let other = 1 - state.owners[partition];
                steps.add(state, ("rebalance", usize::from(other), partition), |next| {
                    next.budget.rebalances -= 1;
                    next.owners[partition] = other;
                });
            }
        }
        for process in 0..PROCESSES {
            self.follow_assignment(state, process, steps);
            let lane = &state.lanes[process];
            if state.budget.crashes > 0 && lane.is_assigned.contains(&true) {
                steps.add(state, ("crash", process, 0), |next| {
                    next.budget.crashes -= 1;
                    next.lanes[process] = Lane::default();
                });
            }
            match (&lane.transaction, lane.moves_back_to) {
                (_, Some(position)) => steps.add(state, ("move back", process, 0), |next| {
                    next.stored.positions[DOMAIN_EVENTS] = position;
                    next.lanes[process].moves_back_to = None;
                }),
                (Some(batch), None) => self.end(state, process, batch, steps),
                (None, None) => {
                    for batch in self.batches(lane) {
                        steps.add(
                            state,
                            ("begin", usize::from(batch[0].1), usize::from(batch[1].1)),
                            |next| {
                                next.lanes[process].transaction = Some(batch);
                            },
                        );
                    }
                }
            }
        }
    }
}
