//! The worker of a partition: assignment, transactions and positions.

use super::sequences::{Change, Progress};
use super::{Config, Fault, KEYS, Message, State};
use crate::explorer::Steps;

/// What a process knows about a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    is_assigned: bool,
    is_stopped: bool,
    /// The stored position, as far as the process knows.
    position: u8,
    /// The next record to take.
    next: u8,
    pub(super) transaction: Option<Transaction>,
    /// The key whose parked messages are left to another transaction, which is a fault.
    left: Option<u8>,
}

/// An open transaction. Its outcome is evaluated at the commit, because it holds its locks until then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Transaction {
    /// The position that it expects.
    position: u8,
    from: u8,
    to: u8,
    read: Progress,
    /// A release has committed since.
    pub(super) key_released: bool,
    /// The keys whose rows other transactions have changed since.
    pub(super) row_changed: [bool; KEYS],
}

impl Worker {
    fn assigned(position: u8) -> Self {
        Self {
            is_assigned: true,
            position,
            next: position,
            ..Self::default()
        }
    }

    /// Continues from the stored position.
    fn resume(&mut self, position: u8) {
        self.transaction = None;
        self.position = position;
        self.next = position;
    }
}

impl State {
    fn worker(&mut self, process: usize, partition: usize) -> &mut Worker {
        &mut self.processes[process].workers[partition]
    }
}

impl Config {
    /// Adds the steps of one worker.
    pub(super) fn work(
        &self,
        state: &State,
        process: usize,
        partition: usize,
        log: &[Message],
        steps: &mut Steps<State>,
    ) {
        let worker = &state.processes[process].workers[partition];
        if let Some(key) = worker.left {
            steps.add(state, ("apply parked", process, partition), |next| {
                next.worker(process, partition).left = None;
                let mut change = Change::new(&state.progress);
                self.drain(state.is_fixed, &mut change, key);
                next.write(&state.progress, &change);
            });
            return;
        }
        let is_owner = usize::from(state.owners[partition]) == process;
        let stored = state.positions[partition];
        if is_owner && !worker.is_assigned {
            steps.add(state, ("assign", process, partition), |next| {
                *next.worker(process, partition) = Worker::assigned(stored);
            });
        }
        if !is_owner && worker.is_assigned {
            steps.add(state, ("revoke", process, partition), |next| {
                *next.worker(process, partition) = Worker::default();
            });
        }
        match &worker.transaction {
            Some(transaction) => self.end(state, process, partition, transaction, log, steps),
            None if worker.is_assigned && !worker.is_stopped => self.begin(state, process, partition, log, steps),
            None => {}
        }
    }

    fn begin(&self, state: &State, process: usize, partition: usize, log: &[Message], steps: &mut Steps<State>) {
        let Worker {
            position, next: from, ..
        } = state.processes[process].workers[partition];
        let stored = state.positions[partition];
        for count in 1..=self.batch {
            let to = from + count;
            if usize::from(to) > log.len() {
                return;
            }
            steps.add(state, ("begin", process, usize::from(count)), |next| {
                let moves_first = self.has(Fault::PositionMovesFirst);
                if moves_first && stored != position {
                    next.worker(process, partition).resume(stored);
                    return;
                }
                if moves_first {
                    next.positions[partition] = to;
                }
                next.worker(process, partition).transaction = Some(Transaction {
                    position,
                    from,
                    to,
                    read: state.progress.clone(),
                    key_released: false,
                    row_changed: [false; KEYS],
                });
            });
        }
    }

    fn end(
        &self,
        state: &State,
        process: usize,
        partition: usize,
        transaction: &Transaction,
        log: &[Message],
        steps: &mut Steps<State>,
    ) {
        let stored = state.positions[partition];
        let is_compared = !self.has(Fault::PositionNotCompared) && !self.has(Fault::PositionMovesFirst);
        if is_compared && stored != transaction.position {
            steps.add(state, ("mismatch", process, partition), |next| {
                let worker = next.worker(process, partition);
                worker.resume(stored);
                worker.is_stopped |= self.has(Fault::MismatchStopsTheWorker);
            });
            return;
        }
        let mut change = Change::new(&transaction.read);
        for record in &log[usize::from(transaction.from)..usize::from(transaction.to)] {
            self.accept(state.is_fixed, &mut change, *record);
        }
        if self.must_repeat(transaction, &change) {
            steps.add(state, ("conflict", process, partition), |next| {
                next.worker(process, partition).transaction = None;
            });
            return;
        }
        let to = transaction.to;
        let mut committed = state.clone();
        committed.write(&transaction.read, &change);
        committed.positions[partition] = to;
        committed.worker(process, partition).transaction = None;
        steps.add(&committed, ("commit", process, usize::from(to)), |next| {
            let worker = next.worker(process, partition);
            worker.position = to;
            worker.next = to;
            worker.left = change.left;
        });
        if state.budget.unknown_commits > 0 {
            steps.add(&committed, ("commit, unknown", process, usize::from(to)), |next| {
                next.budget.unknown_commits -= 1;
            });
        }
        if state.budget.rollbacks > 0 {
            steps.add(state, ("rollback", process, partition), |next| {
                next.budget.rollbacks -= 1;
                let worker = next.worker(process, partition);
                worker.transaction = None;
                if self.has(Fault::RollbackSkipsTheBatch) {
                    worker.next = to;
                }
            });
        }
    }

    /// Returns `true` if the store's locks would have shown the transaction something else than it read.
    fn must_repeat(&self, transaction: &Transaction, change: &Change) -> bool {
        let after_release = transaction.key_released && !self.has(Fault::ReleaseWithoutPositionLock);
        // With one partition, the lock of its position is enough.
        let locks_rows = self.partitions > 1 && !self.has(Fault::SequenceRowNotLocked);
        after_release || (locks_rows && (0..KEYS).any(|key| change.touched[key] && transaction.row_changed[key]))
    }
}
