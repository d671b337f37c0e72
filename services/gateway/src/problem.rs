//! Problem details (RFC 9457): every answer that is not what was asked for.

use axum::http::StatusCode;
use contracts::FieldError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The media type.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Largest rendered problem, in bytes.
pub const LARGEST: usize = 32 * 1024;
/// Errors of one problem, at most.
pub const MOST_ERRORS: usize = 20;
/// Bytes of each text in JSON, at most. Together they stay below [`LARGEST`].
pub const LONGEST_FIELD: usize = 300;
const LONGEST_CODE: usize = 100;
const LONGEST_MESSAGE: usize = 600;
const LONGEST_DETAIL: usize = 4_000;

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
    #[schema(value_type = Vec<Field>, max_items = 20)]
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

    /// `request` names it where no operation does. Texts and errors are shortened, so that no problem is larger than
    /// [`LARGEST`], whatever a client or a service has put into it.
    pub fn body(&self, request: Option<Uuid>, trace_id: Option<String>) -> Body {
        let operation = self.operation.map(|id| format!("/v1/operations/{id}"));
        let code = clipped(&self.code, LONGEST_CODE);
        let errors = self.errors.iter().take(MOST_ERRORS).map(|error| FieldError {
            field: clipped(&error.field, LONGEST_FIELD),
            code: clipped(&error.code, LONGEST_CODE),
            message: clipped(&error.message, LONGEST_MESSAGE),
        });
        Body {
            type_uri: format!("urn:rollcall:problem:{code}"),
            title: self.known().map_or("It was refused", |(.., title)| title).to_owned(),
            status: self.status().as_u16(),
            code,
            detail: clipped(&self.detail, LONGEST_DETAIL),
            errors: errors.collect(),
            instance: operation.or_else(|| request.map(|id| format!("urn:uuid:{id}"))),
            trace_id,
        }
    }

    fn known(&self) -> Option<&'static (&'static str, StatusCode, &'static str)> {
        CODES.iter().find(|(code, ..)| *code == self.code)
    }
}

/// The text, shortened with an ellipsis where it would take more than `longest` bytes in JSON.
pub fn clipped(text: &str, longest: usize) -> String {
    const ELLIPSIS: &str = "…";
    let (mut bytes, mut kept) = (0, 0);
    for (at, char) in text.char_indices() {
        bytes += match char {
            '"' | '\\' => 2,
            // As \u0001.
            '\0'..='\u{1f}' => 6,
            _ => char.len_utf8(),
        };
        if bytes > longest {
            return text[..kept].to_owned() + ELLIPSIS;
        }
        if bytes + ELLIPSIS.len() <= longest {
            kept = at + char.len_utf8();
        }
    }
    text.to_owned()
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
    fn the_largest_problem_is_within_its_limit_and_still_a_problem() {
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
            assert!(text.len() <= LARGEST, "{char:?}: {}", text.len());
            let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for member in ["type", "title", "code", "instance"] {
                assert!(body[member].is_string(), "{char:?}: {member}");
            }
        }
    }

    #[test]
    fn a_text_is_shortened_only_where_it_is_too_long() {
        for (text, expected) in [
            ("", ""),
            ("abcdef", "abcdef"),
            ("abcdefg", "abc…"),
            ("\n\n", "…"),
            ("ab\"d\"", "ab…"),
        ] {
            assert_eq!(clipped(text, 6), expected);
            assert_eq!(clipped(expected, 6), expected, "once is enough");
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
