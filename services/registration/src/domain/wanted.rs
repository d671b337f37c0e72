use std::collections::{BTreeMap, BTreeSet};

use contracts::aggregate::MAX_DOMAIN_EVENTS;
use contracts::{EventStatus, RegistrationCommand};
use uuid::Uuid;

/// Which rows a batch needs in its [`Seating`](super::Seating). Sorted, each once, so that rows are locked in one order.
///
/// How many of a line: a command takes the first of those that are left, again and again, so that a batch of commands
/// that take (or remove from anywhere in the line) n in all never sees beyond the first n. Those who join during the
/// batch stand behind them. So n is the sum of what each command can take at most:
///
/// | command | of those who wait | of all registrations |
/// |---|---|---|
/// | `CancelRegistration` | 1: itself, or who gets its seat | 1: itself |
/// | `CheckIn` | | |
/// | `FollowEvent`, published | 999 | |
/// | `FollowEvent`, cancelled | | 999 |
/// | `ContinueClosing` | 1,000 | 1,000 |
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Registrations, of whatever event, by id.
    pub registrations: BTreeSet<Uuid>,
    /// The active registration of this user for this event: (event, user).
    pub attendances: BTreeSet<(Uuid, Uuid)>,
    /// Of these users, those who have no account any more.
    pub users: BTreeSet<Uuid>,
    /// Of each of these events, so many of those who wait, in order of position.
    pub waiting: BTreeMap<Uuid, usize>,
    /// Of each of these events, so many of its active registrations, in order of position.
    pub active: BTreeMap<Uuid, usize>,
}

impl Wanted {
    /// By a batch of commands, each with its event.
    pub fn by<'a>(commands: impl IntoIterator<Item = (Uuid, &'a RegistrationCommand)>) -> Self {
        Self::with_limit(MAX_DOMAIN_EVENTS, commands)
    }

    /// With the limit of [`Seating::with_limit`](super::Seating::with_limit).
    pub fn with_limit<'a>(limit: usize, commands: impl IntoIterator<Item = (Uuid, &'a RegistrationCommand)>) -> Self {
        let mut wanted = Self::default();
        let mut leaving: BTreeMap<Uuid, usize> = BTreeMap::new();
        for (event, command) in commands {
            match command {
                RegistrationCommand::FollowEvent(follow) => match follow.status {
                    EventStatus::Published => *wanted.waiting.entry(event).or_default() += limit - 1,
                    EventStatus::Cancelled => *wanted.active.entry(event).or_default() += limit - 1,
                    EventStatus::Ended | EventStatus::Unknown => {}
                },
                RegistrationCommand::Register(register) => {
                    wanted.registrations.insert(register.registration_id);
                    wanted.attendances.insert((event, register.user_id));
                    wanted.users.insert(register.user_id);
                }
                RegistrationCommand::CancelRegistration(cancel) => {
                    wanted.registrations.insert(cancel.registration_id);
                    *wanted.waiting.entry(event).or_default() += 1;
                    *leaving.entry(event).or_default() += 1;
                }
                RegistrationCommand::CheckIn(check_in) => {
                    wanted.registrations.insert(check_in.registration_id);
                }
                RegistrationCommand::ContinueClosing(_) => {
                    *wanted.waiting.entry(event).or_default() += limit;
                    *wanted.active.entry(event).or_default() += limit;
                }
            }
        }
        for (event, count) in &mut wanted.active {
            *count += leaving.get(event).copied().unwrap_or(0);
        }
        wanted
    }
}
