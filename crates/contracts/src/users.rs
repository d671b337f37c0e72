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
    /// What happened to one user's account.
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

/// Open an account for the user named by the key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateUser {
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
}

/// Change what the account says about its person; what is `None` stays.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChangeUser {
    pub email: Option<String>,
    pub full_name: Option<String>,
    pub date_of_birth: Option<Date>,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: Option<String>,
    /// Whether the person wants reminders.
    pub reminders: Option<bool>,
    /// Whether the person wants organizers' announcements.
    pub announcements: Option<bool>,
}

/// Note that the person reads mail at this address.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyEmail {
    /// The address that was written to.
    pub email: String,
}

/// Close the account if it is open, and forget the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EraseUser {}

/// Close the user's account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeactivateUser {
    pub reason: String,
}

/// The user has an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserCreated {
    pub created_at: Timestamp,
}

/// The profile says something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserChanged {
    /// Names of the fields that changed.
    pub fields: Vec<String>,
    pub changed_at: Timestamp,
}

/// The person reads mail at the address in the profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmailVerified {
    pub verified_at: Timestamp,
}

/// The user's account is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserDeactivated {
    pub reason: String,
    pub deactivated_at: Timestamp,
}

/// The person is forgotten; the account's history stays without them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserErased {
    pub erased_at: Timestamp,
}

/// The newest profile of a user; the tombstone erases it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct UserProfile {
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
    /// Whether the person has shown to read mail at the address.
    pub email_verified: bool,
    /// Whether the person wants reminders.
    pub reminders: bool,
    /// Whether the person wants organizers' announcements.
    pub announcements: bool,
}

// Debug output ends in logs, and personal data must not.
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
