//! Accounts: the topics `users`, `users.profiles` and `users.commands`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Date, Timestamp, message::topic};

topic! {
    /// A request to one user's account.
    pub UserCommand on USERS_COMMANDS in "users.commands" as "rollcall.users.commands" { CreateUser, DeactivateUser }
}

topic! {
    /// What happened to one user's account.
    pub UserEvent on USERS in "users" as "rollcall.users" { UserCreated, UserDeactivated }
}

topic! {
    /// The newest profile of a user.
    pub UserProfileState on USERS_PROFILES in "users.profiles" as "rollcall.users.profiles" { UserProfile }
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

/// The user's account is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserDeactivated {
    pub reason: String,
    pub deactivated_at: Timestamp,
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
