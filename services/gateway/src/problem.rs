//! Problem details (RFC 9457): the body of every response that reports an error.

use axum::http::StatusCode;
use contracts::FieldError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Media type of a rendered problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Maximum size of a rendered problem, in bytes.
pub const MAX_BYTES: usize = 32 * 1024;
/// Maximum number of field errors in one problem.
pub const MAX_ERRORS: usize = 20;
/// Maximum size of a field name in JSON, in bytes. All limits of strings together stay below [`MAX_BYTES`].
pub const MAX_FIELD_BYTES: usize = 300;
const MAX_CODE_BYTES: usize = 100;
const MAX_MESSAGE_BYTES: usize = 600;
const MAX_DETAIL_BYTES: usize = 4_000;

/// A problem as the client receives it (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// `urn:rollcall:problem:` followed by the code.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short human-readable summary; the same for every problem with this code.
    pub title: String,
    /// HTTP status of the response.
    pub status: u16,
    /// Machine-readable kind of problem. Codes do not change.
    #[schema(examples("event-full"))]
    pub code: String,
    /// Human-readable explanation of this occurrence and the next step.
    pub detail: String,
    /// The invalid fields; absent if no field is invalid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Field>, max_items = 20)]
    pub errors: Vec<FieldError>,
    /// The affected operation (`/v1/operations/{id}`), or else the request: `urn:uuid:` followed by its `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Trace id of the request, for finding its spans and log messages.
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// An invalid field of a request.
#[derive(ToSchema)]
#[schema(as = FieldProblem)]
#[expect(dead_code, reason = "describes contracts::FieldError in the OpenAPI document")]
pub struct Field {
    /// Name of the field; a dotted path if it is nested, and empty for the whole body.
    field: String,
    /// Machine-readable kind of error.
    #[schema(examples("too-short"))]
    code: String,
    /// Human-readable explanation of the error.
    message: String,
}

/// A problem before the ids of the request are added.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub code: String,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub operation: Option<Uuid>,
    /// Seconds until the client should retry.
    pub retry_after: Option<u16>,
    /// The cause with its sources, for the log only.
    pub cause: Option<String>,
}

/// All problem codes with their status and title: the gateway's own, and those with which services reject commands.
const CODES: &[(&str, StatusCode, &str)] = &[
    // The request.
    ("malformed", StatusCode::BAD_REQUEST, "Malformed request"),
    ("invalid", StatusCode::UNPROCESSABLE_ENTITY, "Invalid request"),
    (
        "media-type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type",
    ),
    ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
    ("not-found", StatusCode::NOT_FOUND, "Not found"),
    ("method", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
    // The principal.
    ("not-signed-in", StatusCode::UNAUTHORIZED, "Not signed in"),
    ("token-expired", StatusCode::UNAUTHORIZED, "Access token expired"),
    ("token-invalid", StatusCode::UNAUTHORIZED, "Invalid access token"),
    (
        "wrong-credentials",
        StatusCode::UNAUTHORIZED,
        "Incorrect e-mail address or password",
    ),
    (
        "refresh-token-invalid",
        StatusCode::UNAUTHORIZED,
        "Invalid refresh token",
    ),
    ("link-invalid", StatusCode::UNPROCESSABLE_ENTITY, "Invalid link"),
    ("link-expired", StatusCode::GONE, "Link expired"),
    ("too-many-requests", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
    ("role-needed", StatusCode::FORBIDDEN, "Role required"),
    (
        "own-admin-role",
        StatusCode::CONFLICT,
        "Cannot revoke your own admin role",
    ),
    // Idempotency-Key.
    ("operation-in-progress", StatusCode::CONFLICT, "Request in progress"),
    (
        "idempotency-key-reused",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Idempotency-Key already used",
    ),
    // The gateway.
    ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Server overloaded"),
    ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
    (
        "no-answer",
        StatusCode::SERVICE_UNAVAILABLE,
        "No reply from the service",
    ),
    ("timeout", StatusCode::SERVICE_UNAVAILABLE, "Request timed out"),
    ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    // Any aggregate.
    (
        "version-conflict",
        StatusCode::PRECONDITION_FAILED,
        "Resource has changed since it was read",
    ),
    ("already-exists", StatusCode::CONFLICT, "Resource already exists"),
    // Users.
    ("email-taken", StatusCode::CONFLICT, "E-mail address already in use"),
    ("username-taken", StatusCode::CONFLICT, "Username already in use"),
    ("user-unknown", StatusCode::NOT_FOUND, "User not found"),
    // Events.
    ("organizer-required", StatusCode::FORBIDDEN, "Organizer must be a user"),
    ("event-unknown", StatusCode::NOT_FOUND, "Event not found"),
    ("event-started", StatusCode::CONFLICT, "Event already started"),
    ("event-cancelled", StatusCode::CONFLICT, "Event cancelled"),
    ("event-ended", StatusCode::CONFLICT, "Event ended"),
    ("event-not-published", StatusCode::CONFLICT, "Event not published"),
    (
        "use-reschedule",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Published events can only be rescheduled",
    ),
    // Registrations.
    (
        "registration-not-open",
        StatusCode::CONFLICT,
        "Registration not open yet",
    ),
    ("registration-closed", StatusCode::CONFLICT, "Registration closed"),
    ("registration-cancelled", StatusCode::CONFLICT, "Registration cancelled"),
    ("check-in-not-open", StatusCode::CONFLICT, "Check-in not open yet"),
    ("check-in-over", StatusCode::CONFLICT, "Check-in closed"),
    ("already-checked-in", StatusCode::CONFLICT, "Ticket already used"),
    ("checked-in", StatusCode::CONFLICT, "Attendee already checked in"),
    ("event-full", StatusCode::CONFLICT, "Event full"),
    ("user-deactivated", StatusCode::CONFLICT, "Account deactivated"),
    ("already-registered", StatusCode::CONFLICT, "Already registered"),
    ("registration-unknown", StatusCode::NOT_FOUND, "Registration not found"),
    ("forbidden", StatusCode::FORBIDDEN, "Not allowed"),
    (
        "ticket-invalid",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Invalid ticket code",
    ),
    ("no-seat", StatusCode::CONFLICT, "Registration has no seat"),
    (
        "unsupported",
        StatusCode::NOT_IMPLEMENTED,
        "Command not supported by the service",
    ),
    // Audit.
    ("entry-unknown", StatusCode::NOT_FOUND, "Audit entry not found"),
    ("checkpoint-unknown", StatusCode::NOT_FOUND, "Checkpoint not found"),
    (
        "not-checkpointed",
        StatusCode::CONFLICT,
        "Audit entry not covered by a checkpoint yet",
    ),
    ("too-slow", StatusCode::SERVICE_UNAVAILABLE, "Query too slow"),
    ("log-damaged", StatusCode::INTERNAL_SERVER_ERROR, "Audit log damaged"),
    // Operators.
    ("cursor-invalid", StatusCode::UNPROCESSABLE_ENTITY, "Invalid cursor"),
    (
        "topic-unknown",
        StatusCode::UNPROCESSABLE_ENTITY,
        "Topic not consumed by the service",
    ),
    ("not-parked", StatusCode::CONFLICT, "No messages parked for the key"),
    ("not-released", StatusCode::CONFLICT, "Key could not be released"),
    ("dead-letter-unknown", StatusCode::NOT_FOUND, "Dead letter not found"),
    ("already-redriven", StatusCode::CONFLICT, "Dead letter already redriven"),
    ("not-a-command", StatusCode::CONFLICT, "Dead letter is not a command"),
    (
        "no-envelope",
        StatusCode::CONFLICT,
        "Dead letter has no readable envelope",
    ),
    // Failed commands.
    (
        "expired",
        StatusCode::SERVICE_UNAVAILABLE,
        "Command expired before it was executed",
    ),
    (
        "not-executable",
        StatusCode::INTERNAL_SERVER_ERROR,
        "Command could not be executed",
    ),
];

impl Problem {
    /// Creates a problem without field errors, operation or cause.
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

    /// Returns the HTTP status of the code.
    ///
    /// An unknown code comes from a newer service. It maps to `409`, because the service understood the command and
    /// rejected it.
    pub fn status(&self) -> StatusCode {
        self.known().map_or(StatusCode::CONFLICT, |(_, status, _)| *status)
    }

    /// Returns the body of the response. `request` identifies the problem if it belongs to no operation.
    ///
    /// Strings and the list of errors are shortened, so the body never exceeds [`MAX_BYTES`], regardless of what a
    /// client or a service put into them.
    pub fn body(&self, request: Option<Uuid>, trace_id: Option<String>) -> Body {
        let operation = self.operation.map(|id| format!("/v1/operations/{id}"));
        let code = clipped(&self.code, MAX_CODE_BYTES);
        let errors = self.errors.iter().take(MAX_ERRORS).map(|error| FieldError {
            field: clipped(&error.field, MAX_FIELD_BYTES),
            code: clipped(&error.code, MAX_CODE_BYTES),
            message: clipped(&error.message, MAX_MESSAGE_BYTES),
        });
        Body {
            type_uri: format!("urn:rollcall:problem:{code}"),
            title: self.known().map_or("Request rejected", |(.., title)| title).to_owned(),
            status: self.status().as_u16(),
            code,
            detail: clipped(&self.detail, MAX_DETAIL_BYTES),
            errors: errors.collect(),
            instance: operation.or_else(|| request.map(|id| format!("urn:uuid:{id}"))),
            trace_id,
        }
    }

    fn known(&self) -> Option<&'static (&'static str, StatusCode, &'static str)> {
        CODES.iter().find(|(code, ..)| *code == self.code)
    }
}

/// Returns `text`, shortened with an ellipsis if it takes more than `max_bytes` bytes in JSON.
pub fn clipped(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    let (mut bytes, mut kept) = (0, 0);
    for (at, char) in text.char_indices() {
        bytes += match char {
            '"' | '\\' => 2,
            // Escaped as \u0001.
            '\0'..='\u{1f}' => 6,
            _ => char.len_utf8(),
        };
        if bytes > max_bytes {
            return text[..kept].to_owned() + ELLIPSIS;
        }
        if bytes + ELLIPSIS.len() <= max_bytes {
            kept = at + char.len_utf8();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_unique_and_has_an_error_status() {
        for (index, (code, status, _)) in CODES.iter().enumerate() {
            assert!(
                CODES[..index].iter().all(|(other, ..)| other != code),
                "{code} is listed twice"
            );
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{code} has the status {status}"
            );
        }
    }

    #[test]
    fn the_largest_problem_is_within_its_limit_and_still_complete() {
        for char in ["a", "\"", "\\", "\u{1}", "\u{7f}", "é", "𝄞"] {
            let long = char.repeat(100_000);
            let error = FieldError {
                field: long.clone(),
                code: long.clone(),
                message: long.clone(),
            };
            let problem = Problem {
                errors: vec![error; 1_000],
                operation: Some(Uuid::max()),
                ..Problem::new(long.clone(), long)
            };
            let body = problem.body(None, Some(Uuid::max().simple().to_string()));
            let text = serde_json::to_string(&body).expect("JSON");
            assert!(text.len() <= MAX_BYTES, "{char:?}: {}", text.len());
            let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for member in ["type", "title", "code", "instance"] {
                assert!(body[member].is_string(), "{char:?}: {member}");
            }
        }
    }

    #[test]
    fn a_string_is_shortened_only_if_it_is_too_long() {
        for (text, expected) in [
            ("", ""),
            ("abcdef", "abcdef"),
            ("abcdefg", "abc…"),
            ("\n\n", "…"),
            ("ab\"d\"", "ab…"),
        ] {
            assert_eq!(clipped(text, 6), expected);
            assert_eq!(clipped(expected, 6), expected, "a clipped string is not clipped again");
        }
    }

    #[test]
    fn an_unknown_code_is_a_conflict() {
        let problem = Problem::new("check-in-too-early", "Check-in opens two hours before the start.");
        assert_eq!(problem.status(), StatusCode::CONFLICT);
        assert_eq!(
            problem.body(None, None).type_uri,
            "urn:rollcall:problem:check-in-too-early"
        );
    }
}
