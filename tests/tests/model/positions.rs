use std::collections::BTreeMap;

use contracts::RegistrationEvent;
use uuid::Uuid;

use crate::world::number;

/// The position of each registration by number, with its event and person.
pub(crate) type Positions = BTreeMap<usize, (u8, u8, Position)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Seat,
    /// The number of registrations ahead on the waiting list.
    Waiting(usize),
    Ended,
}

/// Seats and waiting lists, derived only from published domain events.
#[derive(Debug, Default)]
pub(crate) struct Rosters {
    registrations: BTreeMap<Uuid, Registration>,
    capacities: BTreeMap<Uuid, i32>,
}

#[derive(Debug, Clone, Copy)]
struct Registration {
    event: Uuid,
    user: Uuid,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seat,
    Waiting,
    Ended,
}

impl Rosters {
    /// Applies a domain event, and checks that no more seats are given than exist.
    pub(crate) fn apply(&mut self, event: Uuid, published: &RegistrationEvent) {
        use RegistrationEvent as E;
        match published {
            E::RosterOpened(opened) => {
                self.capacities.insert(event, opened.terms.capacity);
            }
            E::RosterChanged(changed) => {
                self.capacities.insert(event, changed.terms.capacity);
            }
            E::RosterClosed(_) | E::AttendeeCheckedIn(_) => {}
            E::SeatConfirmed(it) => self.put(event, it.registration_id, it.user_id, State::Seat),
            E::SeatWaitlisted(it) => self.put(event, it.registration_id, it.user_id, State::Waiting),
            E::SeatPromoted(it) => self.put(event, it.registration_id, it.user_id, State::Seat),
            E::RegistrationCancelled(it) => self.put(event, it.registration_id, it.user_id, State::Ended),
        }
    }

    fn put(&mut self, event: Uuid, id: Uuid, user: Uuid, state: State) {
        self.registrations.insert(id, Registration { event, user, state });
        if state == State::Seat {
            let all = self.registrations.values();
            let taken = all.filter(|it| it.event == event && it.state == state).count();
            let capacity = usize::try_from(self.capacities[&event]).unwrap_or(0);
            assert!(taken <= capacity, "{taken} of {capacity} seats are taken");
        }
    }

    /// Returns the nth registration modulo their number, with its event and person.
    pub(crate) fn nth(&self, nth: usize) -> Option<(Uuid, Uuid, Uuid)> {
        let nth = nth.checked_rem(self.registrations.len())?;
        let (id, it) = self.registrations.iter().nth(nth)?;
        Some((*id, it.event, it.user))
    }

    /// Returns a person's active registrations with their events.
    pub(crate) fn active_of(&self, user: Uuid) -> Vec<(Uuid, Uuid)> {
        let theirs = self.registrations.iter().filter(|(_, it)| it.user == user);
        let active = theirs.filter(|(_, it)| it.state != State::Ended);
        active.map(|(id, it)| (*id, it.event)).collect()
    }

    pub(crate) fn positions(&self) -> Positions {
        let mut waiting: BTreeMap<Uuid, usize> = BTreeMap::new();
        // Ids are in the order of registration, and so is the waiting list.
        let positions = self.registrations.iter().map(|(id, it)| {
            let position = match it.state {
                State::Seat => Position::Seat,
                State::Ended => Position::Ended,
                State::Waiting => {
                    let before = waiting.entry(it.event).or_default();
                    *before += 1;
                    Position::Waiting(*before - 1)
                }
            };
            (id.as_u128() as usize, (number(it.event), number(it.user), position))
        });
        positions.collect()
    }
}
