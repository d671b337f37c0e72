//! The worker: assignment, cached state, transactions and positions.

use std::ops::Range;

use super::decision::{RolledBack, inbox_entry};
use super::{Config, Fault, KEYS, Process, State};
use crate::explorer::Steps;

/// The versions of the aggregates, as far as the worker has them in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Cache(pub(super) [Option<u8>; KEYS]);

impl Cache {
    fn of(versions: [u8; KEYS]) -> Self {
        Self(versions.map(Some))
    }
}

/// An open transaction, with what it has read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Transaction {
    /// The position that it expects.
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) inbox: u16,
    pub(super) versions: [u8; KEYS],
}

impl Transaction {
    pub(super) fn records(&self) -> Range<usize> {
        usize::from(self.from)..usize::from(self.to)
    }
}

impl Process {
    /// Continues from the stored position with fresh state.
    fn resume(&mut self, position: u8) {
        self.transaction = None;
        self.position = position;
        self.cache = Cache::default();
    }
}

impl Config {
    pub(super) fn work(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        self.follow_assignment(state, process, steps);
        let worker = &state.processes[process];
        if let Some(entry) = worker.left_entry {
            steps.add(state, ("insert into inbox", process, 0), |next| {
                next.database.inbox |= entry;
                next.processes[process].left_entry = None;
            });
        }
        match &worker.transaction {
            Some(transaction) => {
                self.end(state, process, transaction, steps);
                if self.has(Fault::PublishedBeforeCommit) {
                    self.publish_early(state, process, transaction, steps);
                }
            }
            None if worker.is_assigned && !worker.is_stopped && worker.left_entry.is_none() => {
                self.begin(state, process, steps);
            }
            None => {}
        }
    }

    fn follow_assignment(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let is_owner = usize::from(state.owner) == process;
        let is_assigned = state.processes[process].is_assigned;
        if is_owner == is_assigned {
            return;
        }
        let name = if is_owner { "assign" } else { "revoke" };
        steps.add(state, (name, process, 0), |next| {
            let position = if is_owner { next.database.position } else { 0 };
            let worker = &mut next.processes[process];
            worker.is_assigned = is_owner;
            worker.is_stopped = false;
            worker.position = position;
            worker.transaction = None;
            if !self.has(Fault::AssignmentKeepsTheCache) {
                worker.cache = Cache::default();
            }
        });
    }

    fn begin(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let from = state.processes[process].position;
        for count in 1..=self.batch {
            let to = from + count;
            if usize::from(to) > state.commands.len() {
                return;
            }
            steps.add(state, ("begin", process, usize::from(count)), |next| {
                let heads = next.database.heads();
                let worker = &mut next.processes[process];
                if self.has(Fault::PositionMovesFirst) {
                    if next.database.position != from {
                        worker.resume(next.database.position);
                        return;
                    }
                    next.database.position = to;
                }
                let versions = [0, 1].map(|key| worker.cache.0[key].unwrap_or(heads[key]));
                worker.cache = Cache::of(versions);
                worker.transaction = Some(Transaction {
                    from,
                    to,
                    inbox: next.database.inbox,
                    versions,
                });
            });
        }
    }

    fn end(&self, state: &State, process: usize, transaction: &Transaction, steps: &mut Steps<State>) {
        let mut committed = state.clone();
        let with_inbox = !self.has(Fault::InboxInAnotherTransaction);
        let versions = match self.commit(&mut committed, process, transaction, with_inbox) {
            Ok(versions) => versions,
            Err(RolledBack::Mismatch) => {
                steps.add(state, ("mismatch", process, 0), |next| self.mismatch(next, process));
                return;
            }
            Err(conflict) => {
                let name = match conflict {
                    RolledBack::InboxConflict => "conflict in inbox",
                    RolledBack::VersionConflict | RolledBack::Mismatch => "conflict in journal",
                };
                steps.add(state, (name, process, 0), |next| {
                    next.processes[process].transaction = None;
                    next.processes[process].cache = Cache::default();
                });
                return;
            }
        };
        let worker = &mut committed.processes[process];
        worker.transaction = None;
        if !with_inbox {
            let records = &state.commands[transaction.records()];
            let entry = records.last().map(|(id, attempt)| inbox_entry(self, *id, *attempt));
            worker.left_entry = entry;
        }
        let cache_after_rollback = |kept: [u8; KEYS]| {
            if self.has(Fault::RollbackKeepsTheCache) {
                Cache::of(kept)
            } else {
                Cache::default()
            }
        };
        let to = transaction.to;
        steps.add(&committed, ("commit", process, usize::from(to)), |next| {
            next.processes[process].cache = Cache::of(versions);
            next.processes[process].position = to;
        });
        if state.budget.unknown_commits > 0 {
            steps.add(&committed, ("commit, unknown", process, usize::from(to)), |next| {
                next.budget.unknown_commits -= 1;
                next.processes[process].cache = cache_after_rollback(transaction.versions);
            });
        }
        if state.budget.rollbacks > 0 {
            steps.add(state, ("rollback", process, 0), |next| {
                next.budget.rollbacks -= 1;
                next.processes[process].transaction = None;
                next.processes[process].cache = cache_after_rollback(versions);
            });
        }
    }

    fn mismatch(&self, next: &mut State, process: usize) {
        let stored = next.database.position;
        let worker = &mut next.processes[process];
        let (position, cache) = (worker.position, worker.cache);
        worker.resume(stored);
        if self.has(Fault::MismatchStopsTheWorker) {
            worker.is_stopped = true;
            worker.position = position;
        }
        if self.has(Fault::MismatchKeepsTheCache) {
            worker.cache = cache;
        }
    }

    /// Publishes the messages of a transaction that has not committed, which is a fault.
    fn publish_early(&self, state: &State, process: usize, transaction: &Transaction, steps: &mut Steps<State>) {
        let mut committed = state.clone();
        if self.commit(&mut committed, process, transaction, true).is_err() {
            return;
        }
        steps.add(state, ("publish early", process, 0), |next| {
            for row in &committed.database.outbox[state.database.outbox.len()..] {
                self.append_to_log(next, row.message);
            }
        });
    }
}
