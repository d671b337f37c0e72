//! Facts about sign-ins and permissions at the gateway: the topic `gateway.security`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::message::topic;

topic! {
    /// A fact about sign-ins or permissions.
    pub SecurityFact on GATEWAY_SECURITY in "gateway.security" as "rollcall.gateway.security" {
        RoleGranted,
        RoleRevoked,
        SignInFailed,
        AccessDenied,
        PasswordChanged,
        SessionFamilyRevoked,
    }
}

/// A role was granted to a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleGranted {
    pub user_id: Uuid,
    pub role: Role,
    /// The admin who granted the role; `None`: by configuration.
    pub granted_by: Option<Uuid>,
}

/// A role was revoked from a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoleRevoked {
    pub user_id: Uuid,
    pub role: Role,
    /// The admin who revoked the role; `None`: by the system.
    pub revoked_by: Option<Uuid>,
}

/// Permissions beyond those of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    Organizer,
    Auditor,
    Admin,
    /// A symbol of a newer writer.
    Unknown,
}

/// A sign-in failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignInFailed {
    /// `None` if the user does not exist.
    pub user_id: Option<Uuid>,
    pub reason: SignInFailure,
}

/// Reason why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SignInFailure {
    WrongPassword,
    UnknownUser,
    ClosedAccount,
    /// A symbol of a newer writer.
    Unknown,
}

/// A request was denied because its sender lacks the permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessDenied {
    /// `None` if the request was not authenticated.
    pub user_id: Option<Uuid>,
    /// HTTP method.
    pub method: String,
    /// Route as documented by the API, without identifiers.
    pub route: String,
    /// Problem code of the response.
    pub code: String,
}

/// The password of a user changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PasswordChanged {
    pub user_id: Uuid,
    /// `true` if the user used a link sent by e-mail; `false` if the user gave the old password.
    pub by_reset: bool,
}

/// A session was revoked, with all refresh tokens that belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionFamilyRevoked {
    pub user_id: Uuid,
    /// Id of the family of refresh tokens.
    pub family_id: Uuid,
    pub reason: RevocationReason,
}

/// Reason why a family of refresh tokens was revoked.
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
