//! Problem details (RFC 9457): every answer that is not what was asked for.

use axum::http::StatusCode;
use contracts::FieldError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The media type.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem, as its client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// `urn:rollcall:problem:` and the code.
    #[serde(rename = "type")]
    pub type_uri: String,
    pub title: String,
    pub status: u16,
    /// What programs go by; it stays as it is.
    #[schema(examples("event-full"))]
    pub code: String,
    /// What people read.
    pub detail: String,
    /// What is wrong with which field; not there where no field is at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Field>)]
    pub errors: Vec<FieldError>,
    /// The operation that met it, else the request: `urn:uuid:` and its `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Names the trace that shows what happened.
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[schema(as = FieldProblem)]
#[expect(dead_code, reason = "says what a contracts::FieldError looks like in the document")]
pub struct Field {
    field: String,
    #[schema(examples("too-short"))]
    code: String,
    message: String,
}

/// A problem before it is bound to its request.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub code: String,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub operation: Option<Uuid>,
    /// Seconds.
    pub retry_after: Option<u16>,
    /// Why, for the log: not for the client.
    pub cause: Option<String>,
}

/// Every code there is: the gateway's own, and those that services refuse with.
const CODES: &[(&str, StatusCode, &str)] = &[
    // The request.
    ("malformed", StatusCode::BAD_REQUEST, "The request can't be read"),
    ("invalid", StatusCode::UNPROCESSABLE_ENTITY, "Some of it is not valid"),
    (
        "media-type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Only JSON is understood",
    ),
    ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "The request is too large"),
    ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
    ("method", StatusCode::METHOD_NOT_ALLOWED, "This can't be done here"),
    // The principal.
    ("not-signed-in", StatusCode::UNAUTHORIZED, "You must sign in first"),
    (
        "token-expired",
        StatusCode::UNAUTHORIZED,
        "Your access token has expired",
    ),
    (
        "token-invalid",
        StatusCode::UNAUTHORIZED,
        "Your access token is not valid",
    ),
    (
        "wrong-credentials",
        StatusCode::UNAUTHORIZED,
        "E-mail or password is wrong",
    ),
    (
        "refresh-token-invalid",
        StatusCode::UNAUTHORIZED,
        "Your refresh token is not valid",
    ),
    (
        "link-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The link is not valid",
    ),
    ("link-expired", StatusCode::GONE, "The link has expired"),
    ("too-many-requests", StatusCode::TOO_MANY_REQUESTS, "You ask too often"),
    ("role-needed", StatusCode::FORBIDDEN, "You lack a role"),
    (
        "own-admin-role",
        StatusCode::CONFLICT,
        "Admins can't stop being one by themselves",
    ),
    // Idempotency-Key.
    (
        "operation-in-progress",
        StatusCode::CONFLICT,
        "The same request is being answered",
    ),
    (
        "idempotency-key-reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The Idempotency-Key is another request's",
    ),
    // The gateway.
    ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "There is too much to do"),
    (
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service is not available",
    ),
    (
        "no-answer",
        StatusCode::SERVICE_UNAVAILABLE,
        "The answer did not come in time",
    ),
    ("timeout", StatusCode::SERVICE_UNAVAILABLE, "The request took too long"),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
    // Any aggregate.
    (
        "version-conflict",
        StatusCode::PRECONDITION_FAILED,
        "It was changed meanwhile",
    ),
    ("already-exists", StatusCode::CONFLICT, "It exists already"),
    // Users.
    ("email-taken", StatusCode::CONFLICT, "The e-mail is taken"),
    ("username-taken", StatusCode::CONFLICT, "The username is taken"),
    ("user-unknown", StatusCode::NOT_FOUND, "There is no such user"),
    // Events.
    (
        "organizer-required",
        StatusCode::FORBIDDEN,
        "Only a person can organize an event",
    ),
    ("event-unknown", StatusCode::NOT_FOUND, "There is no such event"),
    ("event-started", StatusCode::CONFLICT, "The event has started"),
    ("event-cancelled", StatusCode::CONFLICT, "The event is cancelled"),
    ("event-ended", StatusCode::CONFLICT, "The event is over"),
    (
        "event-not-published",
        StatusCode::CONFLICT,
        "The event is not published",
    ),
    (
        "use-reschedule",
        StatusCode::UNPROCESSABLE_ENTITY,
        "A published event is moved by rescheduling it",
    ),
    // Registrations.
    (
        "registration-not-open",
        StatusCode::CONFLICT,
        "Registration is not open yet",
    ),
    ("registration-closed", StatusCode::CONFLICT, "Registration is closed"),
    (
        "registration-cancelled",
        StatusCode::CONFLICT,
        "The registration was cancelled",
    ),
    ("check-in-not-open", StatusCode::CONFLICT, "Check-in is not open yet"),
    ("check-in-over", StatusCode::CONFLICT, "Check-in is over"),
    (
        "already-checked-in",
        StatusCode::CONFLICT,
        "This ticket was used already",
    ),
    ("checked-in", StatusCode::CONFLICT, "Who is there can't cancel any more"),
    ("event-full", StatusCode::CONFLICT, "All seats are taken"),
    ("user-deactivated", StatusCode::CONFLICT, "The account is closed"),
    ("already-registered", StatusCode::CONFLICT, "You are registered already"),
    (
        "registration-unknown",
        StatusCode::NOT_FOUND,
        "There is no such registration",
    ),
    ("forbidden", StatusCode::FORBIDDEN, "This is not yours to do"),
    (
        "ticket-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The ticket's code is wrong",
    ),
    ("no-seat", StatusCode::CONFLICT, "There is no seat"),
    (
        "unsupported",
        StatusCode::NOT_IMPLEMENTED,
        "A service is older than this request",
    ),
    // Audit.
    ("entry-unknown", StatusCode::NOT_FOUND, "There is no such entry"),
    (
        "checkpoint-unknown",
        StatusCode::NOT_FOUND,
        "There is no such checkpoint",
    ),
    (
        "not-checkpointed",
        StatusCode::CONFLICT,
        "No checkpoint reaches the entry yet",
    ),
    (
        "too-slow",
        StatusCode::SERVICE_UNAVAILABLE,
        "The question takes too long",
    ),
    (
        "log-damaged",
        StatusCode::INTERNAL_SERVER_ERROR,
        "A part of the log can't be read",
    ),
    // Operations.
    (
        "cursor-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The cursor is none of this list",
    ),
    (
        "topic-unknown",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The service listens to no such topic",
    ),
    ("not-parked", StatusCode::CONFLICT, "Nothing is parked for this key"),
    ("not-released", StatusCode::CONFLICT, "The key could not be released"),
    (
        "dead-letter-unknown",
        StatusCode::NOT_FOUND,
        "There is no such dead letter",
    ),
    ("already-redriven", StatusCode::CONFLICT, "It was done already"),
    ("not-a-command", StatusCode::CONFLICT, "Only commands are sent again"),
    ("no-envelope", StatusCode::CONFLICT, "Nothing says which command it was"),
    // Commands that failed.
    (
        "expired",
        StatusCode::SERVICE_UNAVAILABLE,
        "It came too late to be carried out",
    ),
    (
        "not-executable",
        StatusCode::INTERNAL_SERVER_ERROR,
        "It could not be carried out",
    ),
];

impl Problem {
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            operation: None,
            retry_after: None,
            cause: None,
        }
    }

    /// A code that a newer service refuses with is a conflict: the request was understood, and the answer is no.
    pub fn status(&self) -> StatusCode {
        self.known().map_or(StatusCode::CONFLICT, |(_, status, _)| *status)
    }

    /// `request` names it where no operation does.
    pub fn body(&self, request: Option<Uuid>, trace_id: Option<String>) -> Body {
        let operation = self.operation.map(|id| format!("/v1/operations/{id}"));
        Body {
            type_uri: format!("urn:rollcall:problem:{}", self.code),
            title: self.known().map_or("It was refused", |(.., title)| title).to_owned(),
            status: self.status().as_u16(),
            code: self.code.clone(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            instance: operation.or_else(|| request.map(|id| format!("urn:uuid:{id}"))),
            trace_id,
        }
    }

    fn known(&self) -> Option<&'static (&'static str, StatusCode, &'static str)> {
        CODES.iter().find(|(code, ..)| *code == self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_there_once_and_an_error() {
        for (index, (code, status, _)) in CODES.iter().enumerate() {
            assert!(CODES[..index].iter().all(|(other, ..)| other != code), "{code} twice");
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }

    #[test]
    fn a_code_that_is_not_known_here_is_a_conflict() {
        let problem = Problem::new("check-in-too-early", "Two hours before the start.");
        assert_eq!(problem.status(), StatusCode::CONFLICT);
        assert_eq!(
            problem.body(None, None).type_uri,
            "urn:rollcall:problem:check-in-too-early"
        );
    }
}
