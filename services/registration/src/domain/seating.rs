use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use uuid::Uuid;

/// A user's registration for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    pub id: Uuid,
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub status: RegistrationStatus,
    /// The roster's version when the registration was created. It is unique within a roster and gives the order: a
    /// lower position comes first.
    pub position: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistrationStatus {
    Waitlisted,
    /// Has a seat.
    Confirmed,
    /// Has a seat, and its attendee has been checked in.
    CheckedIn,
    Cancelled,
}

impl RegistrationStatus {
    /// Returns `true` if a registration with this status takes a seat.
    pub fn has_seat(self) -> bool {
        matches!(self, Self::Confirmed | Self::CheckedIn)
    }
}

/// The registrations that one batch reads and changes, kept up to date command by command.
///
/// A store fills it for the whole batch with the rows that [`RequiredRows`](super::RequiredRows) names. Additional rows
/// do no harm. If a command of the batch may free a seat of a roster, the first rows of its waiting list must be present.
#[derive(Debug, Clone, PartialEq)]
pub struct Seating {
    limit: usize,
    registrations: HashMap<Uuid, Registration>,
    /// Registrations that this batch created.
    created: BTreeSet<Uuid>,
    /// Registrations of the store that this batch changed.
    updated: BTreeSet<Uuid>,
    /// The (event, user) pairs that have an active registration.
    active: HashSet<(Uuid, Uuid)>,
    rosters: HashMap<Uuid, Queues>,
    deactivated: HashSet<Uuid>,
}

/// The loaded registrations of one roster, by position.
#[derive(Debug, Default, Clone, PartialEq)]
struct Queues {
    waiting: BTreeMap<i64, Uuid>,
    active: BTreeMap<i64, Uuid>,
}

impl Default for Seating {
    fn default() -> Self {
        Self::with_limit(MAX_DOMAIN_EVENTS)
    }
}

impl Seating {
    /// Creates an empty seating with another limit than [`MAX_DOMAIN_EVENTS`] on the domain events of one command, at
    /// least 2. Tests use it.
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
            status,
            position,
        } = registration;
        self.registrations.insert(id, registration);
        let queues = self.rosters.entry(event_id).or_default();
        match status {
            RegistrationStatus::Waitlisted | RegistrationStatus::Confirmed | RegistrationStatus::CheckedIn => {
                self.active.insert((event_id, user_id));
                queues.active.insert(position, id);
            }
            RegistrationStatus::Cancelled => {}
        }
        if status == RegistrationStatus::Waitlisted {
            queues.waiting.insert(position, id);
        }
    }

    /// Adds a user whose account is closed.
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

    /// Returns the registrations on the waiting list, ordered by position.
    pub(super) fn waiting(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        let queue = self.rosters.get(&event).map(|queues| &queues.waiting);
        queue
            .into_iter()
            .flatten()
            .filter_map(|(_, id)| self.registrations.get(id))
    }

    /// Returns the registrations that are not cancelled, ordered by position.
    pub(super) fn active(&self, event: Uuid) -> impl Iterator<Item = &Registration> {
        let queue = self.rosters.get(&event).map(|queues| &queues.active);
        queue
            .into_iter()
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

    /// Sets the status of a registration: promoted, checked in, or cancelled.
    pub(super) fn set_status(&mut self, registration: Uuid, status: RegistrationStatus) {
        let Some(row) = self.registrations.get_mut(&registration) else {
            return;
        };
        row.status = status;
        if !self.created.contains(&registration) {
            self.updated.insert(registration);
        }
        let queues = self.rosters.entry(row.event_id).or_default();
        queues.waiting.remove(&row.position);
        if status == RegistrationStatus::Cancelled {
            queues.active.remove(&row.position);
            self.active.remove(&(row.event_id, row.user_id));
        }
    }
}
