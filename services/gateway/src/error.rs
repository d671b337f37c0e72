//! The errors of a request, and the problem that the client receives for each of them.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use contracts::{FieldError, Rejection};
use messaging::AppendError;
use messaging::ledger::{CommitError, StoreError, StoreErrorKind};
use postgres::store_error;
use uuid::Uuid;

use crate::limits::TooMany;
use crate::passwords::Overloaded;
use crate::problem::Problem;
use crate::roles::Role;
use crate::tokens::TokenError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    #[error("some fields are invalid")]
    Invalid(Vec<FieldError>),
    #[error("the body is not declared as JSON")]
    MediaType,
    #[error("the body is too large")]
    BodyTooLarge,
    /// The resource does not exist, or the principal is not allowed to know that it exists.
    #[error("the resource does not exist, or is not visible to this principal")]
    NotFound,
    #[error("the path does not support this method")]
    MethodNotAllowed,
    #[error("the request has no access token")]
    NotSignedIn,
    #[error("the access token was rejected")]
    Token(#[source] TokenError),
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    #[error("the refresh token was rejected")]
    RefreshToken(#[source] TokenError),
    /// The token of a link sent by e-mail is invalid or expired.
    #[error("the token of a link sent by e-mail was rejected")]
    Link(#[source] TokenError),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the role {} is required", .0.as_str())]
    RoleNeeded(Role),
    #[error("admins cannot revoke their own admin role")]
    OwnAdminRole,
    /// The registration belongs to the principal, and only the organizer or staff can check it in.
    #[error("the principal is not allowed to check in this registration")]
    CheckInForbidden,
    #[error("the ticket code is wrong")]
    TicketInvalid,
    /// Only a registration that holds a seat has a ticket.
    #[error("the registration has no seat")]
    NoSeat,
    /// The request repeats an Idempotency-Key while the first request is still waiting for its outcome.
    #[error("the first request with this Idempotency-Key is in progress")]
    StillHeld { operation: Uuid },
    #[error("the Idempotency-Key belongs to a different request")]
    KeyReused { operation: Uuid },
    /// A service rejected the command of an operation because of a business rule.
    #[error("the operation was rejected: {}", .rejection.code)]
    Rejected { operation: Uuid, rejection: Rejection },
    /// A service could not execute the command of an operation.
    #[error("the operation failed: {}", .rejection.code)]
    Failed { operation: Uuid, rejection: Rejection },
    /// A service did not reply to a query in time.
    #[error("the service did not reply in time")]
    NoReply { operation: Uuid },
    #[error("the service's reply cannot be decoded")]
    UnreadableReply(#[source] serde_json::Error),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The queue of pending writes is full.
    #[error("too many writes are pending")]
    Busy,
    #[error("the request timed out")]
    TimedOut,
    #[error("the database request failed")]
    Store(#[source] Arc<StoreError>),
    #[error("the message cannot be appended to the outbox")]
    Append(#[from] AppendError),
    #[error("the handler panicked")]
    Panicked,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(Arc::new(store_error(error)))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        let (CommitError::RolledBack(error) | CommitError::Unknown(error)) = error;
        Self::Store(Arc::new(error))
    }
}

impl Error {
    /// Returns the problem that the client receives. It contains no internals: those are only logged.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Malformed(detail) => Problem::new("malformed", detail),
            Self::Invalid(errors) => Problem {
                errors: errors.clone(),
                ..Problem::new("invalid", invalid_detail(errors))
            },
            Self::MediaType => Problem::new(
                "media-type",
                "This route only accepts JSON. Send the body with `Content-Type: application/json`.",
            ),
            Self::BodyTooLarge => Problem::new(
                "too-large",
                "The request body exceeds the limit of 64 KiB. Send a smaller body.",
            ),
            Self::NotFound => Problem::new(
                "not-found",
                "The requested resource does not exist, or you are not allowed to see it.",
            ),
            Self::MethodNotAllowed => Problem::new(
                "method",
                "This path does not support the method of the request. The `Allow` header lists the supported methods.",
            ),
            Self::NotSignedIn => Problem::new(
                "not-signed-in",
                "This request requires an access token. Sign in and send the token in the `Authorization: Bearer` header.",
            ),
            Self::Token(TokenError::Expired) => Problem::new(
                "token-expired",
                "The access token has expired. Use the refresh token, or sign in again.",
            ),
            Self::Token(TokenError::Invalid) => Problem::new(
                "token-invalid",
                "The access token is malformed, was revoked, or was not issued by this API. Sign in again.",
            ),
            Self::WrongCredentials => Problem::new(
                "wrong-credentials",
                "No account matches this e-mail address and password. Check both, or request a password reset.",
            ),
            Self::RefreshToken(_) => Problem::new(
                "refresh-token-invalid",
                "The refresh token is unknown, expired or already used. Sign in again.",
            ),
            Self::Link(TokenError::Expired) => {
                Problem::new("link-expired", "The link has expired. Request a new link.")
            }
            Self::Link(TokenError::Invalid) => Problem::new(
                "link-invalid",
                "The link was already used, or was not sent by this service. Request a new link.",
            ),
            Self::TooMany(TooMany(standing)) => Problem {
                retry_after: Some(u16::try_from(standing.reset).unwrap_or(u16::MAX)),
                ..Problem::new(
                    "too-many-requests",
                    format!(
                        "The limit `{}` allows {} requests per minute. Retry after {} s.",
                        standing.name, standing.quota, standing.reset
                    ),
                )
            },
            Self::RoleNeeded(role) => Problem::new(
                "role-needed",
                format!(
                    "This request requires the role `{}`. Ask an admin to grant it to you.",
                    role.as_str()
                ),
            ),
            Self::OwnAdminRole => Problem::new(
                "own-admin-role",
                "You cannot revoke your own admin role. Ask another admin to revoke it.",
            ),
            Self::CheckInForbidden => Problem::new(
                "forbidden",
                "You cannot check in your own registration. Show your ticket to the organizer or the staff of the event.",
            ),
            Self::TicketInvalid => Problem::new(
                "ticket-invalid",
                "The code does not belong to this registration. Scan the ticket again.",
            ),
            Self::NoSeat => Problem::new(
                "no-seat",
                "This registration has no ticket, because it is on the waiting list or was cancelled.",
            ),
            Self::StillHeld { operation } => Problem {
                operation: Some(*operation),
                retry_after: Some(1),
                ..Problem::new(
                    "operation-in-progress",
                    format!(
                        "The first request with this Idempotency-Key is still in progress (operation {operation}). \
                         Retry after 1 s."
                    ),
                )
            },
            Self::KeyReused { operation } => Problem {
                operation: Some(*operation),
                ..Problem::new(
                    "idempotency-key-reused",
                    format!(
                        "This Idempotency-Key belongs to a different request (operation {operation}). \
                         Send a new key with this request."
                    ),
                )
            },
            Self::Rejected { operation, rejection } | Self::Failed { operation, rejection } => Problem {
                operation: Some(*operation),
                errors: rejection.errors.clone(),
                ..Problem::new(rejection.code.clone(), &rejection.detail)
            },
            Self::NoReply { operation } => Problem {
                operation: Some(*operation),
                retry_after: Some(5),
                ..Problem::new(
                    "no-answer",
                    format!(
                        "The service did not reply in time (operation {operation}). \
                         Retry after 5 s, or wait longer with `Prefer: wait=25`."
                    ),
                )
            },
            Self::Overloaded(_) | Self::Busy => Problem {
                retry_after: Some(1),
                ..Problem::new(
                    "overloaded",
                    "The server is overloaded and did not process the request. Retry after 1 s.",
                )
            },
            Self::TimedOut => Problem {
                retry_after: Some(1),
                ..Problem::new(
                    "timeout",
                    "The request timed out and may still take effect. To retry safely, send the same Idempotency-Key.",
                )
            },
            Self::Store(error) => match error.kind {
                StoreErrorKind::Unavailable | StoreErrorKind::Conflict => Problem {
                    retry_after: Some(1),
                    cause: Some(chassis::error_chain(self)),
                    ..Problem::new(
                        "unavailable",
                        "The service is temporarily unavailable, and the request may still take effect. \
                         To retry safely, send the same Idempotency-Key.",
                    )
                },
                StoreErrorKind::Broken | StoreErrorKind::Unexpected => self.internal(),
            },
            Self::UnreadableReply(_) | Self::Append(_) | Self::Panicked => self.internal(),
        }
    }

    fn internal(&self) -> Problem {
        Problem {
            cause: Some(chassis::error_chain(self)),
            ..Problem::new(
                "internal",
                "An internal error occurred and was logged. If it persists, report the `traceId` to the operators.",
            )
        }
    }
}

fn invalid_detail(errors: &[FieldError]) -> String {
    let values = if errors.len() == 1 { "value" } else { "values" };
    format!(
        "The request contains {} invalid {values}. Correct each field as `errors` describes and send the request again.",
        errors.len()
    )
}

/// Sets the status and attaches the problem to the response. The `edge` middleware adds the request's ids and writes
/// the body.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let mut response = problem.status().into_response();
        response.extensions_mut().insert(problem);
        if let Self::TooMany(standing) = self {
            response.extensions_mut().insert(standing);
        }
        response
    }
}
