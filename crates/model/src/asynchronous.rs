//! Asynchronous commits: a transaction that publishes nothing returns before it is durable, and a crash of the store loses
//! the last of these transactions with their positions.
//!
//! Two processes share one partition. A client waits for the effect of its first record in a read model. The second record
//! leads to a message.

use crate::explorer::{Model, Steps};

const PROCESSES: usize = 2;
const RECORDS: usize = 3;
/// The record for whose effect the client waits.
const AWAITED: usize = 0;
/// The record that leads to a message.
const PUBLISHING: usize = 1;
/// Maximum number of records of a transaction.
const BATCH: u8 = 2;

/// A rule that is left out, or a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The response `201` does not wait until the effect is durable.
    CreatedBeforeDurable,
    /// Transactions that publish commit asynchronously, too.
    PublishingCommitsAsynchronously,
    /// A process whose position has gone back continues with the records that it has in memory, instead of restarting.
    LossIsNotNoticed,
    /// A process without an open transaction does not compare its position with the stored one.
    IdleProcessesDoNotCompare,
    /// A synchronous commit does not make the commits before it durable.
    DurableOutOfOrder,
    /// A cached state depends on more than the records up to its position, e.g. on the time or on generated ids.
    CacheDependsOnTheAttempt,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// `false` if every commit is synchronous.
    pub(crate) is_asynchronous: bool,
    pub(crate) budget: Budget,
    pub(crate) faults: &'static [Fault],
}

/// The number of times that each disturbance can still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) rebalances: u8,
    pub(crate) crashes: u8,
    pub(crate) store_crashes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The process to which the group assigns the partition.
    owner: u8,
    /// The committed transactions, in order. All of them are visible.
    commits: Vec<Commit>,
    next_id: u8,
    processes: [Process; PROCESSES],
    /// The message in Kafka, by the transaction that led to it.
    published: Option<u8>,
    /// The client has received `201`.
    has_created: bool,
    used_stale_cache: bool,
    budget: Budget,
}

/// A committed transaction with the records that it applied. A transaction that is repeated has another id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Commit {
    id: u8,
    from: u8,
    to: u8,
    is_durable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Process {
    is_assigned: bool,
    /// The stored position, as far as the process knows.
    position: u8,
    /// The next record that the process has in memory.
    next: u8,
    /// What the handler has in memory, by the last transaction that it reflects.
    cache: Option<u8>,
    /// The end of the open transaction.
    to: Option<u8>,
}

impl Commit {
    fn applies(&self, record: usize) -> bool {
        (usize::from(self.from)..usize::from(self.to)).contains(&record)
    }
}

impl Process {
    fn assigned(position: u8) -> Self {
        Self {
            is_assigned: true,
            position,
            next: position,
            ..Self::default()
        }
    }
}

impl State {
    /// Returns the stored position.
    fn position(&self) -> u8 {
        self.commits.last().map_or(0, |commit| commit.to)
    }

    /// Returns the transaction that applied a record.
    fn applied(&self, record: usize) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.applies(record))
    }
}

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn store(&self, state: &State, steps: &mut Steps<State>) {
        let Some(index) = state.commits.iter().position(|commit| !commit.is_durable) else {
            return;
        };
        steps.add(state, ("flush", 0, 0), |next| next.commits[index].is_durable = true);
        if state.budget.store_crashes > 0 {
            steps.add(state, ("crash of the store", 0, 0), |next| {
                next.budget.store_crashes -= 1;
                next.commits.retain(|commit| commit.is_durable);
                // Open transactions fail. A process without one notices nothing.
                for process in next.processes.iter_mut().filter(|process| process.to.is_some()) {
                    process.to = None;
                    process.cache = None;
                }
            });
        }
    }

    fn publish(&self, state: &State, steps: &mut Steps<State>) {
        if let (Some(commit), None) = (state.applied(PUBLISHING), state.published) {
            steps.add(state, ("publish", 0, 0), |next| next.published = Some(commit.id));
        }
    }

    fn respond(&self, state: &State, steps: &mut Steps<State>) {
        let waits = !self.has(Fault::CreatedBeforeDurable);
        let applied = state.applied(AWAITED);
        let is_ready = applied.is_some_and(|commit| commit.is_durable || !waits);
        if is_ready && !state.has_created {
            steps.add(state, ("respond 201", 0, 0), |next| next.has_created = true);
        }
    }

    fn process(&self, state: &State, index: usize, steps: &mut Steps<State>) {
        let process = &state.processes[index];
        let is_owner = usize::from(state.owner) == index;
        if is_owner && !process.is_assigned {
            steps.add(state, ("assign", index, 0), |next| {
                next.processes[index] = Process::assigned(state.position());
            });
        }
        // An open transaction continues: the process is a zombie.
        if !is_owner && process.is_assigned {
            steps.add(state, ("revoke", index, 0), |next| {
                next.processes[index].is_assigned = false
            });
        }
        if process.is_assigned && state.budget.crashes > 0 {
            steps.add(state, ("crash", index, 0), |next| {
                next.budget.crashes -= 1;
                next.processes[index] = Process::default();
            });
        }
        match process.to {
            Some(to) if state.position() == process.position => self.commit(state, index, to, steps),
            Some(_) => steps.add(state, ("mismatch", index, 0), |next| self.mismatch(next, index)),
            None if process.is_assigned => {
                let compares = !self.has(Fault::LossIsNotNoticed) && !self.has(Fault::IdleProcessesDoNotCompare);
                if compares && state.position() < process.position {
                    steps.add(state, ("notice loss", index, 0), |next| {
                        next.processes[index] = Process::default();
                    });
                }
                let last = (process.next + BATCH).min(RECORDS as u8);
                for to in process.next + 1..=last {
                    steps.add(state, ("begin", index, usize::from(to)), |next| {
                        next.processes[index].to = Some(to);
                    });
                }
            }
            None => {}
        }
    }

    fn commit(&self, state: &State, index: usize, to: u8, steps: &mut Steps<State>) {
        steps.add(state, ("commit", index, usize::from(to)), |next| {
            let process = &mut next.processes[index];
            let latest = next.commits.last().map(|commit| commit.id);
            let is_stale = process.cache.is_some() && process.cache != latest;
            next.used_stale_cache |= is_stale && self.has(Fault::CacheDependsOnTheAttempt);
            let mut commit = Commit {
                id: next.next_id,
                from: process.next,
                to,
                is_durable: false,
            };
            next.next_id += 1;
            process.position = to;
            process.next = to;
            process.to = None;
            process.cache = Some(commit.id);
            let publishes = commit.applies(PUBLISHING) && !self.has(Fault::PublishingCommitsAsynchronously);
            if publishes || !self.is_asynchronous {
                commit.is_durable = true;
                let before = next.commits.iter_mut().filter(|_| !self.has(Fault::DurableOutOfOrder));
                before.for_each(|commit| commit.is_durable = true);
            }
            next.commits.push(commit);
        });
    }

    /// Reads the stored position. If it went back, the process restarts, because it does not have the lost records any more.
    fn mismatch(&self, next: &mut State, index: usize) {
        let stored = next.position();
        let process = &mut next.processes[index];
        process.to = None;
        process.cache = None;
        if stored >= process.position {
            process.position = stored;
            process.next = stored;
        } else if self.has(Fault::LossIsNotNoticed) {
            process.position = stored;
        } else {
            *process = Process::default();
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            owner: 0,
            commits: Vec::new(),
            next_id: 1,
            processes: Default::default(),
            published: None,
            has_created: false,
            used_stale_cache: false,
            budget: self.budget,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let mut end = 0;
        for commit in &state.commits {
            if commit.from > end {
                return Some("a record was skipped");
            }
            if commit.from < end {
                return Some("a record took effect twice");
            }
            end = commit.to;
        }
        let stored = state.applied(PUBLISHING).map(|commit| commit.id);
        if state.published.is_some() && stored != state.published {
            return Some("Kafka contains a message whose transaction was lost");
        }
        if state.has_created && state.applied(AWAITED).is_none() {
            return Some("a client that received 201 cannot read its own write");
        }
        state.used_stale_cache.then_some("a handler used an outdated cache")
    }

    fn is_done(&self, state: &State) -> bool {
        usize::from(state.position()) == RECORDS
            && state.commits.iter().all(|commit| commit.is_durable)
            && state.published.is_some()
            && state.has_created
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        self.store(state, steps);
        self.publish(state, steps);
        self.respond(state, steps);
        if state.budget.rebalances > 0 {
            let other = 1 - state.owner;
            steps.add(state, ("rebalance", usize::from(other), 0), |next| {
                next.budget.rebalances -= 1;
                next.owner = other;
            });
        }
        for process in 0..PROCESSES {
            self.process(state, process, steps);
        }
    }
}
