//! What a profile says after a command.

use contracts::{ChangeUser, CreateUser, UserProfile};

use super::email_key;

/// As a sign-up has it. Mails are wanted until the person says otherwise.
pub fn opened(create: &CreateUser) -> UserProfile {
    let CreateUser {
        email,
        username,
        full_name,
        date_of_birth,
        time_zone,
    } = create.clone();
    UserProfile {
        email,
        username,
        full_name,
        date_of_birth,
        time_zone,
        email_verified: false,
        reminders: true,
        announcements: true,
    }
}

/// As a change leaves it: another address is not verified, the same one in another case is what it was.
pub fn changed(before: &UserProfile, change: &ChangeUser) -> UserProfile {
    let ChangeUser {
        email,
        full_name,
        date_of_birth,
        time_zone,
        reminders,
        announcements,
    } = change.clone();
    let before = before.clone();
    let email = email.unwrap_or_else(|| before.email.clone());
    UserProfile {
        email_verified: before.email_verified && email_key(&email) == email_key(&before.email),
        email,
        username: before.username,
        full_name: full_name.unwrap_or(before.full_name),
        date_of_birth: date_of_birth.unwrap_or(before.date_of_birth),
        time_zone: time_zone.unwrap_or(before.time_zone),
        reminders: reminders.unwrap_or(before.reminders),
        announcements: announcements.unwrap_or(before.announcements),
    }
}

/// As it is once the person has shown to read mail at the address.
pub fn verified(before: &UserProfile) -> UserProfile {
    UserProfile {
        email_verified: true,
        ..before.clone()
    }
}

/// Names of the fields of a [`ChangeUser`] that made this difference.
pub(super) fn difference(before: &UserProfile, after: &UserProfile) -> Vec<&'static str> {
    [
        ("email", before.email != after.email),
        ("full_name", before.full_name != after.full_name),
        ("date_of_birth", before.date_of_birth != after.date_of_birth),
        ("time_zone", before.time_zone != after.time_zone),
        ("reminders", before.reminders != after.reminders),
        ("announcements", before.announcements != after.announcements),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}
