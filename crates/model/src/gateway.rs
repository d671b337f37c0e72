//! The gateway: a client waits at process 0 for the outcome of one operation. Its reply and the domain event for the read
//! model arrive from Kafka, at either process.

use crate::explorer::{Model, Steps};

const PROCESSES: usize = 2;

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The partition of replies stays with its process, even if that has died.
    NoFailOver,
    /// A waiting request is woken only by its own process, and does not query the store.
    NoPollOfTheStore,
    /// The response `201` does not wait for the read model.
    NoWaitForTheReadModel,
    /// Replies are not deduplicated by id.
    NoInbox,
    /// The transaction does not compare the stored position with the expected one.
    PositionNotCompared,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    can_duplicate: bool,
    can_rebalance: bool,
    can_crash: bool,
    /// Number of copies of the reply in the log.
    log: u8,
    /// The process to which the partition of replies is assigned.
    owner: u8,
    processes: [Process; PROCESSES],
    /// The stored position.
    position: u8,
    /// The inbox contains the reply.
    in_inbox: bool,
    /// Number of times that the operation was completed.
    completed: u8,
    /// The read model contains the new version.
    is_projected: bool,
    /// Process 0 has projected the new version, and woke its waiting requests.
    projection_woke: bool,
    client: Client,
    violation: Option<Violation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    is_alive: bool,
    is_assigned: bool,
    /// The stored position, as far as the process knows.
    position: u8,
    /// The process completed the operation, and woke its waiting requests.
    has_completed: bool,
    /// The open transaction, with what it read from the inbox.
    transaction: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    Waiting,
    Created,
    Accepted,
    Disconnected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Violation {
    CreatedTooEarly,
    AcceptedAlthoughComplete,
}

impl Process {
    const ALIVE: Self = Self {
        is_alive: true,
        is_assigned: false,
        position: 0,
        has_completed: false,
        transaction: None,
    };
}

impl Config {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn reply(&self, state: &State, steps: &mut Steps<State>) {
        if state.log == 0 {
            steps.add(state, ("reply", 0, 0), |next| next.log = 1);
        } else if state.can_duplicate {
            steps.add(state, ("duplicate reply", 0, 0), |next| {
                next.can_duplicate = false;
                next.log += 1;
            });
        }
        if state.log > 0 && !state.is_projected {
            for process in 0..PROCESSES {
                steps.add(state, ("project", process, 0), |next| {
                    next.is_projected = true;
                    next.projection_woke = process == 0;
                });
            }
        }
    }

    fn coordinate(&self, state: &State, steps: &mut Steps<State>) {
        let other = 1 - state.owner;
        if state.can_rebalance && state.processes[usize::from(other)].is_alive {
            steps.add(state, ("rebalance", usize::from(other), 0), |next| {
                next.can_rebalance = false;
                next.owner = other;
            });
        }
        if !self.has(Fault::NoFailOver) && !state.processes[usize::from(state.owner)].is_alive {
            steps.add(state, ("fail over", usize::from(other), 0), |next| next.owner = other);
        }
    }

    /// Responds to the client: `201` if the operation and the read model are known to be complete, otherwise `202` when its
    /// time is over.
    fn respond(&self, state: &State, steps: &mut Steps<State>) {
        if state.client != Client::Waiting {
            return;
        }
        let process = &state.processes[0];
        if !process.is_alive {
            steps.add(state, ("disconnect", 0, 0), |next| next.client = Client::Disconnected);
            return;
        }
        let polls = !self.has(Fault::NoPollOfTheStore);
        let is_completed = state.completed == 1;
        let knows_outcome = is_completed && (process.has_completed || polls);
        let knows_version = state.is_projected && (state.projection_woke || polls);
        if knows_outcome && (knows_version || self.has(Fault::NoWaitForTheReadModel)) {
            steps.add(state, ("respond 201", 0, 0), |next| {
                next.client = Client::Created;
                if !state.is_projected {
                    next.violation = Some(Violation::CreatedTooEarly);
                }
            });
        } else {
            steps.add(state, ("respond 202", 0, 0), |next| {
                next.client = Client::Accepted;
                if is_completed && state.is_projected {
                    next.violation = Some(Violation::AcceptedAlthoughComplete);
                }
            });
        }
    }

    fn consume(&self, state: &State, index: usize, steps: &mut Steps<State>) {
        let process = &state.processes[index];
        if !process.is_alive {
            return;
        }
        if state.can_crash {
            steps.add(state, ("crash", index, 0), |next| {
                next.can_crash = false;
                next.processes[index] = Process {
                    is_alive: false,
                    ..Process::ALIVE
                };
            });
        }
        let is_owner = usize::from(state.owner) == index;
        if is_owner && !process.is_assigned {
            steps.add(state, ("assign", index, 0), |next| {
                next.processes[index].is_assigned = true;
                next.processes[index].position = state.position;
            });
        }
        if !is_owner && process.is_assigned {
            steps.add(state, ("revoke", index, 0), |next| {
                next.processes[index].is_assigned = false;
                next.processes[index].transaction = None;
            });
        }
        match process.transaction {
            None if process.is_assigned && process.position < state.log => {
                steps.add(state, ("begin", index, 0), |next| {
                    next.processes[index].transaction = Some(state.in_inbox);
                });
            }
            None => {}
            Some(read) => self.end(state, index, read, steps),
        }
    }

    fn end(&self, state: &State, index: usize, was_in_inbox: bool, steps: &mut Steps<State>) {
        let position = state.processes[index].position;
        let has_inbox = !self.has(Fault::NoInbox);
        if state.position != position && !self.has(Fault::PositionNotCompared) {
            steps.add(state, ("mismatch", index, 0), |next| {
                next.processes[index].transaction = None;
                next.processes[index].position = state.position;
            });
        } else if has_inbox && !was_in_inbox && state.in_inbox {
            steps.add(state, ("conflict in inbox", index, 0), |next| {
                next.processes[index].transaction = None;
            });
        } else {
            steps.add(state, ("commit", index, 0), |next| {
                if !has_inbox || !was_in_inbox {
                    next.completed += 1;
                    next.processes[index].has_completed = true;
                    next.in_inbox = true;
                }
                next.position = position + 1;
                next.processes[index].position = position + 1;
                next.processes[index].transaction = None;
            });
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            can_duplicate: true,
            can_rebalance: true,
            can_crash: true,
            log: 0,
            owner: 0,
            processes: [Process::ALIVE; PROCESSES],
            position: 0,
            in_inbox: false,
            completed: 0,
            is_projected: false,
            projection_woke: false,
            client: Client::Waiting,
            violation: None,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if state.completed > 1 {
            return Some("an operation was completed twice");
        }
        state.violation.map(|violation| match violation {
            Violation::CreatedTooEarly => "201 before the read model has the version",
            Violation::AcceptedAlthoughComplete => "202 although the store has reply and read model",
        })
    }

    fn is_done(&self, state: &State) -> bool {
        state.completed == 1 && state.is_projected && state.client != Client::Waiting && state.position == state.log
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        self.reply(state, steps);
        self.coordinate(state, steps);
        self.respond(state, steps);
        for process in 0..PROCESSES {
            self.consume(state, process, steps);
        }
    }
}
