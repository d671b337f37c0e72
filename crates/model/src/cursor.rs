//! Outbox rows of two workers of one process: a row gets its position at the INSERT, and becomes visible at the COMMIT.

use crate::explorer::{Model, Steps};

const WORKERS: usize = 2;

/// A rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The relay reads rows behind a cursor instead of the set of its rows.
    RelayReadsBehindACursor,
    /// Each session of the pool reserves two positions at a time.
    PositionsAreReservedPerSession,
}

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Number of domain events of each worker.
    pub(crate) messages: u8,
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The next position of an outbox row.
    next: u8,
    /// Number of domain events that each worker has committed.
    committed: [u8; WORKERS],
    /// The position in the open transaction of each worker, or 0.
    open: [u8; WORKERS],
    /// The visible rows: position, key and version. Worker n writes key n.
    rows: Vec<(u8, u8, u8)>,
    /// The highest position that the relay has read.
    cursor: u8,
    log: Vec<(u8, u8)>,
    /// The positions that each session has reserved, from and to.
    reserved: [(u8, u8); WORKERS],
}

impl Config {
    fn insert(&self, state: &State, worker: usize, steps: &mut Steps<State>) {
        if self.fault != Some(Fault::PositionsAreReservedPerSession) {
            steps.add(state, ("insert", worker, usize::from(state.next)), |next| {
                next.open[worker] = next.next;
                next.next += 1;
            });
            return;
        }
        for session in 0..WORKERS {
            steps.add(state, ("insert", worker, session), |next| {
                let (from, to) = next.reserved[session];
                if from == to {
                    next.reserved[session] = (next.next, next.next + 2);
                    next.next += 2;
                }
                next.open[worker] = next.reserved[session].0;
                next.reserved[session].0 += 1;
            });
        }
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            next: 1,
            committed: [0; WORKERS],
            open: [0; WORKERS],
            rows: Vec::new(),
            cursor: 0,
            log: Vec::new(),
            reserved: [(0, 0); WORKERS],
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let rows = &state.rows;
        let is_swapped = |(index, first): (usize, &(u8, u8, u8))| {
            let mut later = rows[index + 1..].iter().filter(|second| second.1 == first.1);
            later.any(|second| (first.0 < second.0) != (first.2 < second.2))
        };
        let is_swapped = rows.iter().enumerate().any(is_swapped);
        is_swapped.then_some("the positions of a key's rows differ from the order of its versions")
    }

    fn is_done(&self, state: &State) -> bool {
        state.committed == [self.messages; WORKERS] && state.rows.is_empty() && state.open == [0; WORKERS]
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        for worker in 0..WORKERS {
            if state.open[worker] == 0 && state.committed[worker] < self.messages {
                self.insert(state, worker, steps);
            }
            if state.open[worker] != 0 {
                steps.add(state, ("commit", worker, 0), |next| {
                    next.committed[worker] += 1;
                    next.rows
                        .push((next.open[worker], worker as u8, next.committed[worker]));
                    next.rows.sort_unstable();
                    next.open[worker] = 0;
                });
            }
        }
        let has_cursor = self.fault == Some(Fault::RelayReadsBehindACursor);
        let mut rows = state.rows.iter();
        if let Some(&(position, key, version)) = rows.find(|row| !has_cursor || row.0 > state.cursor) {
            steps.add(state, ("publish", usize::from(key), usize::from(version)), |next| {
                next.cursor = next.cursor.max(position);
                next.log.push((key, version));
                next.rows.retain(|row| row.0 != position);
            });
        }
    }
}
