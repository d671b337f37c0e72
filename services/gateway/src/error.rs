//! Everything that can go wrong with a request, and what its client is told.

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
    #[error("the request can't be read: {0}")]
    Malformed(String),
    #[error("some fields are not valid")]
    Invalid(Vec<FieldError>),
    #[error("the body is no JSON")]
    MediaType,
    #[error("the body is too large")]
    BodyTooLarge,
    /// Nothing there, or nothing that this principal may know of.
    #[error("there is nothing here")]
    NotFound,
    #[error("there is no such method here")]
    Method,
    #[error("nobody is signed in")]
    NotSignedIn,
    #[error("the access token was refused")]
    Token(#[source] TokenError),
    #[error("e-mail or password is wrong")]
    WrongCredentials,
    #[error("the refresh token was refused")]
    RefreshToken(#[source] TokenError),
    /// Of a link that was mailed.
    #[error("the link was refused")]
    Link(#[source] TokenError),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the role {} is needed", .0.as_str())]
    RoleNeeded(Role),
    #[error("an admin must stay one")]
    OwnAdminRole,
    /// The principal can see it, and that is all.
    #[error("it is not this principal's to do")]
    NotYours,
    #[error("the ticket's code is wrong")]
    TicketInvalid,
    /// Only who has a seat has a ticket.
    #[error("there is no seat")]
    NoSeat,
    /// A repetition while the first request is still held open.
    #[error("the same request is being answered")]
    StillHeld { operation: Uuid },
    #[error("the Idempotency-Key is another request's")]
    KeyReused { operation: Uuid },
    /// A service's business no.
    #[error("the operation was refused: {}", .rejection.code)]
    Rejected { operation: Uuid, rejection: Rejection },
    /// A service could not carry it out.
    #[error("the operation failed: {}", .rejection.code)]
    Failed { operation: Uuid, rejection: Rejection },
    /// A question that was not answered in time.
    #[error("the answer did not come in time")]
    NoAnswer { operation: Uuid },
    #[error("the answer can't be read")]
    BadAnswer(#[source] serde_json::Error),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// More is being written than can be.
    #[error("too much is being written")]
    Busy,
    #[error("the request took too long")]
    TimedOut,
    #[error("the database")]
    Store(#[source] Arc<StoreError>),
    #[error("the command can't be said")]
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
    /// What the client is told. Nothing of the inside is: that is for the log.
    pub fn problem(&self) -> Problem {
        let new = |code: &str, detail: &str| Problem::new(code, detail);
        match self {
            Self::Malformed(detail) => new("malformed", detail),
            Self::Invalid(errors) => Problem {
                errors: errors.clone(),
                ..new("invalid", "See `errors`.")
            },
            Self::MediaType => new("media-type", "Send the body as application/json."),
            Self::BodyTooLarge => new("too-large", "A body has at most 64 KiB."),
            Self::NotFound => new("not-found", "There is no such thing, or it is not yours to see."),
            Self::Method => new("method", "See /docs for what can be done."),
            Self::NotSignedIn => new("not-signed-in", "Send `Authorization: Bearer` and an access token."),
            Self::Token(TokenError::Expired) => new("token-expired", "Sign in again."),
            Self::Token(TokenError::Invalid) => new("token-invalid", "Sign in again."),
            Self::WrongCredentials => new(
                "wrong-credentials",
                "There is no account with this e-mail and password.",
            ),
            Self::RefreshToken(_) => new("refresh-token-invalid", "Sign in again."),
            Self::Link(TokenError::Expired) => new("link-expired", "Ask for a new one."),
            Self::Link(TokenError::Invalid) => {
                new("link-invalid", "It was used before, or is not ours. Ask for a new one.")
            }
            Self::TooMany(TooMany(standing)) => Problem {
                retry_after: Some(u16::try_from(standing.reset).unwrap_or(u16::MAX)),
                ..new("too-many-requests", "See the headers RateLimit and Retry-After.")
            },
            Self::RoleNeeded(role) => new("role-needed", &format!("Only for the role {}.", role.as_str())),
            Self::OwnAdminRole => new("own-admin-role", "Another admin can do this."),
            Self::NotYours => new("forbidden", "Others can do this."),
            Self::TicketInvalid => new("ticket-invalid", "This is not the code of this registration."),
            Self::NoSeat => new("no-seat", "Only who has a seat has a ticket."),
            Self::StillHeld { operation } => Problem {
                operation: Some(*operation),
                retry_after: Some(1),
                ..new(
                    "operation-in-progress",
                    "The first request with this Idempotency-Key is still open.",
                )
            },
            Self::KeyReused { operation } => Problem {
                operation: Some(*operation),
                ..new("idempotency-key-reused", "Use a new Idempotency-Key for a new request.")
            },
            Self::Rejected { operation, rejection } | Self::Failed { operation, rejection } => Problem {
                operation: Some(*operation),
                errors: rejection.errors.clone(),
                ..new(&rejection.code, &rejection.detail)
            },
            Self::NoAnswer { operation } => Problem {
                operation: Some(*operation),
                retry_after: Some(5),
                ..new("no-answer", "Try again, or wait longer with `Prefer: wait=25`.")
            },
            Self::Overloaded(_) | Self::Busy => Problem {
                retry_after: Some(1),
                ..new("overloaded", "Nothing was done. Try again in a moment.")
            },
            Self::TimedOut => Problem {
                retry_after: Some(1),
                ..new(
                    "timeout",
                    "It may have been done all the same. An Idempotency-Key makes it safe to try again.",
                )
            },
            Self::Store(error) => match error.kind {
                StoreErrorKind::Unavailable | StoreErrorKind::Conflict => Problem {
                    retry_after: Some(1),
                    cause: Some(chassis::error_chain(self)),
                    ..new(
                        "unavailable",
                        "It may have been done all the same. An Idempotency-Key makes it safe to try again.",
                    )
                },
                StoreErrorKind::Broken | StoreErrorKind::Unexpected => self.internal(),
            },
            Self::BadAnswer(_) | Self::Append(_) | Self::Panicked => self.internal(),
        }
    }

    fn internal(&self) -> Problem {
        Problem {
            cause: Some(chassis::error_chain(self)),
            ..Problem::new("internal", "It is not your fault, and it was noted.")
        }
    }
}

/// Its status, with the problem beside it: the edge binds it to the request and writes the body.
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
