use std::collections::BTreeMap;

use contracts::RegistrationEvent;
use uuid::Uuid;

use crate::world::number;

/// Where each registration stands, by number, with its event and person.
pub(crate) type Places = BTreeMap<usize, (u8, u8, Place)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Seat,
    /// So many are before them.
    Waiting(usize),
    Gone,
}

/// Seats and waiting lists, by nothing but what was published.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    registrations: BTreeMap<Uuid, Registration>,
    capacities: BTreeMap<Uuid, i32>,
}

#[derive(Debug, Clone, Copy)]
struct Registration {
    event: Uuid,
    user: Uuid,
    place: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Seat,
    Waiting,
    Gone,
}

impl Lines {
    /// Notes a domain event, and checks that nobody is given a seat that is not there.
    pub(crate) fn note(&mut self, event: Uuid, said: &RegistrationEvent) {
        use RegistrationEvent as E;
        match said {
            E::RosterOpened(opened) => {
                self.capacities.insert(event, opened.capacity);
            }
            E::RosterChanged(changed) => {
                self.capacities.insert(event, changed.capacity);
            }
            E::RosterClosed(_) | E::AttendeeCheckedIn(_) => {}
            E::SeatConfirmed(it) => self.put(event, it.registration_id, it.user_id, Standing::Seat),
            E::SeatWaitlisted(it) => self.put(event, it.registration_id, it.user_id, Standing::Waiting),
            E::SeatPromoted(it) => self.put(event, it.registration_id, it.user_id, Standing::Seat),
            E::RegistrationCancelled(it) => self.put(event, it.registration_id, it.user_id, Standing::Gone),
        }
    }

    fn put(&mut self, event: Uuid, id: Uuid, user: Uuid, place: Standing) {
        self.registrations.insert(id, Registration { event, user, place });
        if place == Standing::Seat {
            let all = self.registrations.values();
            let taken = all.filter(|it| it.event == event && it.place == place).count();
            let capacity = usize::try_from(self.capacities[&event]).unwrap_or(0);
            assert!(taken <= capacity, "{taken} seats are taken of {capacity}");
        }
    }

    /// Counted around: the registration, its event and person.
    pub(crate) fn nth(&self, nth: usize) -> Option<(Uuid, Uuid, Uuid)> {
        let nth = nth.checked_rem(self.registrations.len())?;
        let (id, it) = self.registrations.iter().nth(nth)?;
        Some((*id, it.event, it.user))
    }

    /// A person's seats and places, with their events.
    pub(crate) fn active_of(&self, user: Uuid) -> Vec<(Uuid, Uuid)> {
        let theirs = self.registrations.iter().filter(|(_, it)| it.user == user);
        let active = theirs.filter(|(_, it)| it.place != Standing::Gone);
        active.map(|(id, it)| (*id, it.event)).collect()
    }

    pub(crate) fn places(&self) -> Places {
        let mut waiting: BTreeMap<Uuid, usize> = BTreeMap::new();
        // Ids are in the order in which people came, and so is the line.
        let places = self.registrations.iter().map(|(id, it)| {
            let place = match it.place {
                Standing::Seat => Place::Seat,
                Standing::Gone => Place::Gone,
                Standing::Waiting => {
                    let before = waiting.entry(it.event).or_default();
                    *before += 1;
                    Place::Waiting(*before - 1)
                }
            };
            (id.as_u128() as usize, (number(it.event), number(it.user), place))
        });
        places.collect()
    }
}
