use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use uuid::Uuid;

/// One person's place at one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub id: Uuid,
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub place: Place,
    /// The roster's version when it was made, and so its turn: lower is earlier, and no two of a roster are equal.
    pub position: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Waiting,
    Seat,
    /// A seat whose person is here.
    CheckedIn,
    Cancelled,
}

impl Place {
    /// Whether it takes one of the event's seats.
    pub fn has_seat(self) -> bool {
        matches!(self, Self::Seat | Self::CheckedIn)
    }
}

/// The rows that one batch touches, as its commands change them one after the other.
///
/// A store fills it, for the whole batch, with what [`Wanted`](super::Wanted) says. More rows do no harm; of any roster
/// that somebody leaves, the first in line must not be missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Seating {
    limit: usize,
    registrations: HashMap<Uuid, Registration>,
    /// Registrations that this batch created.
    created: BTreeSet<Uuid>,
    /// Registrations of the store that this batch changed.
    updated: BTreeSet<Uuid>,
    /// By event and user.
    active: HashSet<(Uuid, Uuid)>,
    rosters: HashMap<Uuid, Lines>,
    deactivated: HashSet<Uuid>,
}

/// Who of one roster is known to the batch, by position.
#[derive(Debug, Default, Clone, PartialEq)]
struct Lines {
    waiting: BTreeMap<i64, Uuid>,
    active: BTreeMap<i64, Uuid>,
}

impl Default for Seating {
    fn default() -> Self {
        Self::with_limit(MAX_DOMAIN_EVENTS)
    }
}

impl Seating {
    /// With another limit than [`MAX_DOMAIN_EVENTS`] on what one command leads to, at least 2: for tests.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            registrations: HashMap::new(),
            created: BTreeSet::new(),
            updated: BTreeSet::new(),
            active: HashSet::new(),
            rosters: HashMap::new(),
            deactivated: HashSet::new(),
        }
    }

    /// Adds a row of the store.
    pub fn add(&mut self, registration: Registration) {
        let Registration {
            id,
            event_id,
            user_id,
            place,
            position,
        } = registration;
        self.registrations.insert(id, registration);
        let lines = self.rosters.entry(event_id).or_default();
        match place {
            Place::Waiting | Place::Seat | Place::CheckedIn => {
                self.active.insert((event_id, user_id));
                lines.active.insert(position, id);
            }
            Place::Cancelled => {}
        }
        if place == Place::Waiting {
            lines.waiting.insert(position, id);
        }
    }

    /// Adds a user who has no account any more.
    pub fn add_deactivated(&mut self, user: Uuid) {
        self.deactivated.insert(user);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn find(&self, registration: Uuid) -> Option<&Registration> {
        self.registrations.get(&registration)
    }

    pub(super) fn is_registered(&self, event: Uuid, user: Uuid) -> bool {
        self.active.contains(&(event, user))
    }

    pub(super) fn is_deactivated(&self, user: Uuid) -> bool {
        self.deactivated.contains(&user)
    }

    /// Those who wait, in order.
    pub(super) fn first_waiting(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        let line = self.rosters.get(&event).map(|lines| &lines.waiting);
        line.into_iter()
            .flatten()
            .filter_map(|(_, id)| self.registrations.get(id))
    }

    /// Those with a seat or waiting, in the order they came.
    pub(super) fn first_active(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        let line = self.rosters.get(&event).map(|lines| &lines.active);
        line.into_iter()
            .flatten()
            .filter_map(|(_, id)| self.registrations.get(id))
    }

    /// Adds a registration that this batch creates.
    pub(super) fn create(&mut self, registration: Registration) {
        self.created.insert(registration.id);
        self.add(registration);
    }

    /// Returns the registrations that this batch created, as they are at its end, sorted by id.
    pub fn created(&self) -> impl Iterator<Item = &Registration> {
        self.created.iter().filter_map(|id| self.registrations.get(id))
    }

    /// Returns the registrations of the store that this batch changed, as they are at its end, sorted by id.
    pub fn updated(&self) -> impl Iterator<Item = &Registration> {
        self.updated.iter().filter_map(|id| self.registrations.get(id))
    }

    /// Somebody who waits gets a seat, who has one is here, or a registration ends.
    pub(super) fn move_to(&mut self, registration: Uuid, place: Place) {
        let Some(row) = self.registrations.get_mut(&registration) else {
            return;
        };
        row.place = place;
        if !self.created.contains(&registration) {
            self.updated.insert(registration);
        }
        let lines = self.rosters.entry(row.event_id).or_default();
        lines.waiting.remove(&row.position);
        if place == Place::Cancelled {
            lines.active.remove(&row.position);
            self.active.remove(&(row.event_id, row.user_id));
        }
    }
}
