//! A lane: one task of a process that applies what waits in several partitions as one transaction.
//!
//! The first statement of the transaction compares the positions of all its partitions, and moves them. Its locks are
//! held from there to the commit, so the model evaluates the comparison at the commit. Two processes with one lane each
//! share two partitions.

use crate::explorer::{Model, Steps};

const PROCESSES: usize = 2;
const PARTITIONS: usize = 2;
/// Maximum number of records of a partition.
const MAX_RECORDS: usize = 3;

/// A rule that is left out, or a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Only the position of the first partition is compared.
    OnlyTheFirstPositionIsCompared,
    /// After a mismatch, the partitions whose positions matched continue behind the batch.
    MatchingPartitionsSkipTheBatch,
    /// After a mismatch, the lane does not read the positions.
    PositionsAreNotReadAgain,
    /// A pause survives the assignment that set it.
    PauseSurvivesTheAssignment,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Number of records of each partition.
    pub(crate) records: u8,
    /// The lane never applies a partition alone.
    pub(crate) never_splits: bool,
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
    /// Pauses of a partition, as the application sets them when a queue is full.
    pub(crate) pauses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The process to which the group assigns each partition.
    owners: [u8; PARTITIONS],
    /// The stored positions.
    positions: [u8; PARTITIONS],
    /// The number of times that each record took effect.
    effects: [[u8; MAX_RECORDS]; PARTITIONS],
    lanes: [Lane; PROCESSES],
    budget: Budget,
}

/// The lane of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Lane {
    is_assigned: [bool; PARTITIONS],
    /// The stored positions, as far as the lane knows.
    positions: [u8; PARTITIONS],
    /// The partitions that Kafka does not fetch for the lane.
    is_paused: [bool; PARTITIONS],
    transaction: Option<Batch>,
}

/// The records of a transaction, as from and to for each partition.
type Batch = [(u8, u8); PARTITIONS];

/// Returns the partitions of which a batch contains records.
fn included(batch: &Batch) -> impl Iterator<Item = usize> {
    (0..PARTITIONS).filter(|partition| batch[*partition].0 != batch[*partition].1)
}

impl Lane {
    /// Returns the records that the lane may apply together: all that wait or one of each partition, of both partitions or,
    /// if the lane was split, of one.
    fn batches(&self, config: &Config) -> Vec<Batch> {
        let selections: &[[bool; PARTITIONS]] = if config.never_splits {
            &[[true, true]]
        } else {
            &[[true, true], [true, false], [false, true]]
        };
        let mut batches = Vec::new();
        for single in [true, false] {
            for selected in selections {
                let batch = [0, 1].map(|partition| {
                    let from = self.positions[partition];
                    let is_waiting = self.is_assigned[partition] && !self.is_paused[partition] && from < config.records;
                    let to = match (selected[partition] && is_waiting, single) {
                        (false, _) => from,
                        (true, true) => from + 1,
                        (true, false) => config.records,
                    };
                    (from, to)
                });
                if included(&batch).next().is_some() && !batches.contains(&batch) {
                    batches.push(batch);
                }
            }
        }
        batches
    }
}

impl State {
    fn apply(&mut self, batch: &Batch) {
        for partition in included(batch) {
            let (from, to) = batch[partition];
            for record in from..to {
                self.effects[partition][usize::from(record)] += 1;
            }
            self.positions[partition] = to;
        }
    }
}

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn follow_assignment(&self, state: &State, process: usize, partition: usize, steps: &mut Steps<State>) {
        let lane = &state.lanes[process];
        let is_owner = usize::from(state.owners[partition]) == process;
        let is_assigned = lane.is_assigned[partition];
        let survives = self.has(Fault::PauseSurvivesTheAssignment);
        if is_owner && !is_assigned {
            steps.add(state, ("assign", process, partition), |next| {
                next.lanes[process].is_assigned[partition] = true;
                next.lanes[process].positions[partition] = state.positions[partition];
            });
        }
        // An open transaction continues: the process is a zombie.
        if !is_owner && is_assigned {
            steps.add(state, ("revoke", process, partition), |next| {
                next.lanes[process].is_assigned[partition] = false;
                next.lanes[process].is_paused[partition] &= survives;
            });
        }
        if is_assigned && state.budget.pauses > 0 && !lane.is_paused[partition] {
            steps.add(state, ("pause", process, partition), |next| {
                next.budget.pauses -= 1;
                next.lanes[process].is_paused[partition] = true;
            });
        }
        // Only the assignment that paused the partition knows that it must resume it.
        if is_assigned && lane.is_paused[partition] && !survives {
            steps.add(state, ("resume", process, partition), |next| {
                next.lanes[process].is_paused[partition] = false;
            });
        }
    }

    fn end(&self, state: &State, process: usize, batch: &Batch, steps: &mut Steps<State>) {
        let matches = |partition: &usize| state.positions[*partition] == batch[*partition].0;
        let compared = if self.has(Fault::OnlyTheFirstPositionIsCompared) {
            1
        } else {
            PARTITIONS
        };
        if !included(batch).take(compared).all(|partition| matches(&partition)) {
            steps.add(state, ("mismatch", process, 0), |next| {
                self.mismatch(next, process, batch)
            });
            return;
        }
        steps.add(state, ("commit", process, 0), |next| {
            next.apply(batch);
            next.lanes[process].transaction = None;
            for partition in included(batch) {
                next.lanes[process].positions[partition] = batch[partition].1;
            }
        });
        if state.budget.unknown_commits > 0 {
            steps.add(state, ("commit, unknown", process, 0), |next| {
                next.budget.unknown_commits -= 1;
                next.apply(batch);
                next.lanes[process].transaction = None;
            });
        }
    }

    /// Reads the positions that do not match. The other partitions keep their records.
    fn mismatch(&self, next: &mut State, process: usize, batch: &Batch) {
        let stored = next.positions;
        let lane = &mut next.lanes[process];
        lane.transaction = None;
        for partition in included(batch) {
            let (from, to) = batch[partition];
            if stored[partition] == from {
                if self.has(Fault::MatchingPartitionsSkipTheBatch) {
                    lane.positions[partition] = to;
                }
            } else if !self.has(Fault::PositionsAreNotReadAgain) {
                lane.positions[partition] = stored[partition];
            }
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            owners: [0, 1],
            positions: [0; PARTITIONS],
            effects: Default::default(),
            lanes: Default::default(),
            budget: self.budget,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        for effects in &state.effects {
            if effects.iter().any(|effects| *effects > 1) {
                return Some("a record took effect twice");
            }
            if effects.is_sorted_by(|first, second| first >= second) {
                continue;
            }
            return Some("a record was skipped");
        }
        None
    }

    fn is_done(&self, state: &State) -> bool {
        let records = usize::from(self.records);
        let mut effects = state.effects.iter().flat_map(|effects| &effects[..records]);
        effects.all(|effects| *effects == 1) && state.lanes.iter().all(|lane| lane.transaction.is_none())
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
            for partition in 0..PARTITIONS {
                self.follow_assignment(state, process, partition, steps);
            }
            let lane = &state.lanes[process];
            if state.budget.crashes > 0 && lane.is_assigned.contains(&true) {
                steps.add(state, ("crash", process, 0), |next| {
                    next.budget.crashes -= 1;
                    next.lanes[process] = Lane::default();
                });
            }
            match &lane.transaction {
                Some(batch) => self.end(state, process, batch, steps),
                None => {
                    for batch in lane.batches(self) {
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
