use std::collections::{BTreeMap, BTreeSet};

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use contracts::{EventStatus, RegistrationCommand};
use uuid::Uuid;

/// The rows that a batch needs in its [`Seating`](super::Seating). They are sorted and unique, so all batches lock
/// rows in the same order.
///
/// The number of rows of a roster follows from its commands. Each command takes registrations from the front of a list,
/// or removes one from any position. So a batch whose commands take n registrations in total never reads beyond the
/// first n, and registrations that are added during the batch come after them. n is the sum of the most that each
/// command can take:
///
/// | command | from the waiting list | from the active registrations |
/// |---|---|---|
/// | `CancelRegistration` | 1: itself, or the one that gets its seat | 1: itself |
/// | `CheckIn` | | |
/// | `FollowEvent`, published | 999 | |
/// | `FollowEvent`, cancelled | | 999 |
/// | `ContinueClosing` | 1,000 | 1,000 |
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequiredRows {
    /// Registrations by id, of any event.
    pub registrations: BTreeSet<Uuid>,
    /// The (event, user) pairs whose active registration is needed.
    pub attendances: BTreeSet<(Uuid, Uuid)>,
    /// Users of whom those with a closed account are needed.
    pub users: BTreeSet<Uuid>,
    /// By event, the number of registrations at the front of its waiting list.
    pub waiting: BTreeMap<Uuid, usize>,
    /// By event, the number of active registrations with the lowest positions.
    pub active: BTreeMap<Uuid, usize>,
}

impl RequiredRows {
    /// Returns the rows for a batch of commands, each with the id of its event.
    pub fn for_commands<'a>(commands: impl IntoIterator<Item = (Uuid, &'a RegistrationCommand)>) -> Self {
        Self::with_limit(MAX_DOMAIN_EVENTS, commands)
    }

    /// Returns the rows for a batch with the limit of [`Seating::with_limit`](super::Seating::with_limit).
    pub fn with_limit<'a>(limit: usize, commands: impl IntoIterator<Item = (Uuid, &'a RegistrationCommand)>) -> Self {
        let mut required = Self::default();
        let mut cancelled: BTreeMap<Uuid, usize> = BTreeMap::new();
        for (event, command) in commands {
            match command {
                RegistrationCommand::FollowEvent(follow) => match follow.status {
                    EventStatus::Published => *required.waiting.entry(event).or_default() += limit - 1,
                    EventStatus::Cancelled => *required.active.entry(event).or_default() += limit - 1,
                    EventStatus::Ended | EventStatus::Unknown => {}
                },
                RegistrationCommand::Register(register) => {
                    required.registrations.insert(register.registration_id);
                    required.attendances.insert((event, register.user_id));
                    required.users.insert(register.user_id);
                }
                RegistrationCommand::CancelRegistration(cancel) => {
                    required.registrations.insert(cancel.registration_id);
                    *required.waiting.entry(event).or_default() += 1;
                    *cancelled.entry(event).or_default() += 1;
                }
                RegistrationCommand::CheckIn(check_in) => {
                    required.registrations.insert(check_in.registration_id);
                }
                RegistrationCommand::ContinueClosing(_) => {
                    *required.waiting.entry(event).or_default() += limit;
                    *required.active.entry(event).or_default() += limit;
                }
            }
        }
        for (event, count) in &mut required.active {
            *count += cancelled.get(event).copied().unwrap_or(0);
        }
        required
    }
}
