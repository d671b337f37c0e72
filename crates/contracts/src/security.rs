//! What the gateway notes of sign-ins and rights: the topic `gateway.security`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::topic;

topic! {
    /// Something about who may do what.
    pub SecurityFact on GATEWAY_SECURITY in "gateway.security" as "rollcall.gateway.security" {
        RoleGranted,
        RoleRevoked,
        SignInFailed,
        AccessDenied,
        PasswordChanged,
        SessionFamilyRevoked,
    }
}

/// A user has a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleGranted {
    pub user_id: Uuid,
    pub role: Role,
    /// The admin; `None`: by configuration.
    pub granted_by: Option<Uuid>,
}

/// A user has a role no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleRevoked {
    pub user_id: Uuid,
    pub role: Role,
    /// The admin; `None`: by the system.
    pub revoked_by: Option<Uuid>,
}

/// What a user may do beyond being a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    Organizer,
    Auditor,
    Admin,
    /// A symbol of a newer writer.
    Unknown,
}

/// Somebody did not get in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignInFailed {
    /// Whose password it should have been; `None`: there is no such user.
    pub user_id: Option<Uuid>,
    pub reason: SignInFailure,
}

/// Why a sign-in fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SignInFailure {
    WrongPassword,
    UnknownUser,
    ClosedAccount,
    /// A symbol of a newer writer.
    Unknown,
}

/// Somebody asked for what they may not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessDenied {
    /// `None`: nobody who is signed in.
    pub user_id: Option<Uuid>,
    /// Of HTTP.
    pub method: String,
    /// As the API documents it, without identifiers.
    pub route: String,
    /// Of the problem that was answered.
    pub code: String,
}

/// A user has another password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PasswordChanged {
    pub user_id: Uuid,
    /// Whether by a mailed link; else by the old password.
    pub by_reset: bool,
}

/// A sign-in and all that came of it has ended before its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionFamilyRevoked {
    pub user_id: Uuid,
    /// The family of refresh tokens.
    pub family_id: Uuid,
    pub reason: RevocationReason,
}

/// Why a family of refresh tokens ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RevocationReason {
    SignedOut,
    TokenReused,
    PasswordChanged,
    AccountClosed,
    /// A symbol of a newer writer.
    Unknown,
}
