//! The relay: it publishes the outbox rows of its process, and adopts those of owners without a live lease.

use super::{Config, Database, Fault, Message, Process, State, Violation};
use crate::explorer::Steps;

/// An outbox row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) position: u8,
    pub(super) owner: u8,
    pub(super) message: Message,
}

/// A message that the producer client holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct InFlight {
    position: u8,
    message: Message,
    is_in_log: bool,
}

/// The lease of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lease {
    /// No row exists.
    None,
    Live,
    Expired,
}

impl Database {
    pub(super) fn append(&mut self, owner: u8, message: Message) {
        self.outbox.push(Row {
            position: self.next_row,
            owner,
            message,
        });
        self.next_row += 1;
    }
}

impl Config {
    /// Expires the leases of owners that no process uses any more.
    pub(super) fn expire_dead_leases(state: &State, steps: &mut Steps<State>) {
        for (owner, lease) in state.leases.iter().enumerate() {
            let is_user = |process: &Process| process.is_alive && usize::from(process.owner) == owner;
            if *lease == Lease::Live && !state.processes.iter().any(is_user) {
                steps.add(state, ("expire dead lease", owner, 0), |next| {
                    next.leases[owner] = Lease::Expired;
                });
            }
        }
    }

    pub(super) fn relay(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        self.read_row(state, process, steps);
        self.deliver(state, process, steps);
        self.delete_rows(state, process, steps);
        self.keep_lease(state, process, steps);
        self.adopt_rows(state, process, steps);
    }

    /// Passes the next row to the producer client.
    fn read_row(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let relay = &state.processes[process];
        if !relay.relays || relay.in_flight.len() >= self.in_flight {
            return;
        }
        let is_pending = |row: &&Row| {
            row.owner == relay.owner
                && !relay.acknowledged.contains(&row.position)
                && !relay.in_flight.iter().any(|sent| sent.position == row.position)
                && (!self.has(Fault::RelayReadsBehindACursor) || row.position > relay.cursor)
        };
        let pending = state.database.outbox.iter().filter(is_pending);
        let Some(row) = pending.min_by_key(|row| row.position) else {
            return;
        };
        steps.add(state, ("read row", process, usize::from(row.position)), |next| {
            let relay = &mut next.processes[process];
            relay.cursor = relay.cursor.max(row.position);
            relay.in_flight.push(InFlight {
                position: row.position,
                message: row.message,
                is_in_log: false,
            });
            if self.has(Fault::RowDeletedBeforeAcknowledgement) {
                next.database.outbox.retain(|other| other.position != row.position);
            }
        });
    }

    /// The broker appends the messages in order, and acknowledges them. A delivery may time out before or after its append.
    fn deliver(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let in_flight = &state.processes[process].in_flight;
        if let Some(index) = in_flight.iter().position(|sent| !sent.is_in_log) {
            let InFlight { position, message, .. } = in_flight[index];
            steps.add(state, ("append to log", process, usize::from(position)), |next| {
                next.processes[process].in_flight[index].is_in_log = true;
                self.append_to_log(next, message);
            });
        }
        if state.budget.timeouts > 0 {
            for (index, sent) in in_flight.iter().enumerate() {
                steps.add(state, ("time out", process, usize::from(sent.position)), |next| {
                    next.budget.timeouts -= 1;
                    next.processes[process].in_flight.remove(index);
                });
            }
        }
        if let Some(index) = in_flight.iter().position(|sent| sent.is_in_log) {
            let position = in_flight[index].position;
            steps.add(state, ("acknowledge", process, usize::from(position)), |next| {
                next.processes[process].in_flight.remove(index);
                next.processes[process].acknowledged.push(position);
            });
        }
    }

    pub(super) fn append_to_log(&self, state: &mut State, message: Message) {
        let (key, version) = match message {
            Message::Command(id, attempt) => {
                state.commands.push((id, attempt));
                return;
            }
            Message::DomainEvent(key, version) => (key, version),
        };
        if !state.database.journal[usize::from(key)].contains(&version) {
            state.violation = Some(Violation::PhantomMessage);
        }
        let is_first = !state.log.contains(&(key, version));
        let is_later = |other: &(u8, u8)| other.0 == key && other.1 > version;
        if self.expects_log_order && is_first && state.log.iter().any(is_later) {
            state.violation = Some(Violation::LogOrder);
        }
        if self.keeps_log_order {
            state.log.push((key, version));
        } else if is_first {
            state.log.push((key, version));
            state.log.sort_unstable();
        }
    }

    /// Deletes the acknowledged rows, unless another process has adopted them.
    fn delete_rows(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let relay = &state.processes[process];
        if relay.acknowledged.is_empty() {
            return;
        }
        steps.add(state, ("delete rows", process, relay.acknowledged.len()), |next| {
            let is_deleted = |row: &Row| row.owner == relay.owner && relay.acknowledged.contains(&row.position);
            next.database.outbox.retain(|row| !is_deleted(row));
            next.processes[process].acknowledged.clear();
        });
    }

    /// Loses the lease of a live process. It continues with a new owner id when it notices that.
    fn keep_lease(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let relay = &state.processes[process];
        let owner = usize::from(relay.owner);
        let is_live = state.leases[owner] == Lease::Live;
        if state.budget.expired_leases > 0 && is_live {
            steps.add(state, ("expire lease", process, owner), |next| {
                next.budget.expired_leases -= 1;
                next.leases[owner] = Lease::Expired;
            });
        }
        if relay.relays && !is_live {
            steps.add(state, ("notice expired lease", process, owner), |next| {
                if self.has(Fault::LostLeaseStopsTheRelay) {
                    next.processes[process].relays = false;
                } else {
                    let owner = next.new_owner();
                    next.processes[process].owner = owner;
                    next.processes[process].acknowledged.clear();
                }
            });
        }
    }

    /// Adopts the rows of owners without a live lease, whether or not the row of the lease exists.
    fn adopt_rows(&self, state: &State, process: usize, steps: &mut Steps<State>) {
        let relay = &state.processes[process];
        let has_lease = state.leases[usize::from(relay.owner)] == Lease::Live;
        if !relay.relays || !has_lease || self.has(Fault::RowsAreNeverAdopted) {
            return;
        }
        let once_per_lease = self.has(Fault::RowsAreAdoptedOncePerLease);
        let is_orphan = |row: &Row| {
            let lease = state.leases[usize::from(row.owner)];
            let is_adoptable = if once_per_lease {
                lease == Lease::Expired
            } else {
                lease != Lease::Live || self.has(Fault::RowsOfLiveOwnersAreAdopted)
            };
            row.owner != relay.owner && is_adoptable
        };
        if !state.database.outbox.iter().any(is_orphan) {
            return;
        }
        steps.add(state, ("adopt rows", process, 0), |next| {
            for row in next.database.outbox.iter_mut().filter(|row| is_orphan(row)) {
                row.owner = relay.owner;
            }
            if once_per_lease {
                for lease in next.leases.iter_mut().filter(|lease| **lease == Lease::Expired) {
                    *lease = Lease::None;
                }
            }
        });
    }
}
