//! The content of a profile after a command.

use contracts::{ChangeUser, CreateUser, UserProfile};

use super::email_key;

/// Returns the profile of a new account. Reminders and announcements are on until the user turns them off.
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

/// Returns the profile after a change. A new e-mail address is not verified; one that differs only in case keeps its
/// verification.
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

/// Returns the profile with a verified e-mail address.
pub fn verified(before: &UserProfile) -> UserProfile {
    UserProfile {
        email_verified: true,
        ..before.clone()
    }
}

/// Returns the names of the fields of a [`ChangeUser`] that differ between two profiles.
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
