//! Accounts: the topics `users`, `users.profiles` and `users.commands`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Date, Timestamp, message::topic};

topic! {
    /// A request to one user's account.
    pub UserCommand on USERS_COMMANDS in "users.commands" as "rollcall.users.commands" {
        CreateUser,
        ChangeUser,
        VerifyEmail,
        DeactivateUser,
        EraseUser,
    }
}

topic! {
    /// A domain event of one user's account.
    pub UserEvent on USERS in "users" as "rollcall.users" {
        UserCreated,
        UserChanged,
        EmailVerified,
        UserDeactivated,
        UserErased,
    }
}

topic! {
    /// The newest profile of a user.
    pub UserProfileState on USERS_PROFILES in "users.profiles" as "rollcall.users.profiles" { UserProfile } or tombstone
}

/// Create an account for the user whose id is the key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateUser {
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
}

/// Change the profile of a user; a `None` field stays the same.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChangeUser {
    pub email: Option<String>,
    pub full_name: Option<String>,
    pub date_of_birth: Option<Date>,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// `true` if the user wants reminders.
    pub reminders: Option<bool>,
    /// `true` if the user wants announcements of organizers.
    pub announcements: Option<bool>,
}

/// Record that the user has verified this e-mail address.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyEmail {
    /// The verified address.
    pub email: String,
}

/// Close the account if it is open, and erase the user's personal data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EraseUser {}

/// Close the user's account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeactivateUser {
    pub reason: String,
}

/// The account of the user was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserCreated {
    pub created_at: Timestamp,
}

/// The profile of the user changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserChanged {
    /// Names of the fields that changed.
    pub fields: Vec<String>,
    pub changed_at: Timestamp,
}

/// The user verified the e-mail address in the profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmailVerified {
    pub verified_at: Timestamp,
}

/// The account of the user was closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserDeactivated {
    pub reason: String,
    pub deactivated_at: Timestamp,
}

/// The user's personal data was erased. The history of the account is kept without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserErased {
    pub erased_at: Timestamp,
}

/// Newest profile of a user; a tombstone erases it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UserProfile {
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
    /// `true` if the user has verified the e-mail address.
    pub email_verified: bool,
    /// `true` if the user wants reminders.
    pub reminders: bool,
    /// `true` if the user wants announcements of organizers.
    pub announcements: bool,
}

// Debug output reaches logs, and personal data must not.
impl fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateUser")
            .field("time_zone", &self.time_zone)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UserProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserProfile")
            .field("time_zone", &self.time_zone)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangeUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeUser")
            .field("time_zone", &self.time_zone)
            .field("reminders", &self.reminders)
            .field("announcements", &self.announcements)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifyEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyEmail").finish_non_exhaustive()
    }
}
