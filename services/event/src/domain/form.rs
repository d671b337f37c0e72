//! What a draft may say, field by field.

use contracts::{CreateEvent, FieldError, Timestamp};

type Fault = (&'static str, &'static str);

/// Every field of the draft that is at fault, at this time.
pub(super) fn errors(create: &CreateEvent, now: Timestamp) -> Vec<FieldError> {
    [
        ("title", title(&create.title)),
        ("description", description(&create.description)),
        ("venue", line(&create.venue)),
        (
            "starts_at",
            (create.starts_at <= now).then_some(("in-the-past", "The event must lie ahead.")),
        ),
        (
            "ends_at",
            (create.ends_at <= create.starts_at).then_some(("before-start", "The event must end after it starts.")),
        ),
        ("time_zone", time_zone(&create.time_zone)),
        (
            "capacity",
            (!(1..=1_000_000).contains(&create.capacity)).then_some(("out-of-range", "From 1 to 1,000,000 seats.")),
        ),
        (
            "registration_closes_at",
            (create.registration_closes_at > create.starts_at)
                .then_some(("after-start", "Registration must close before the event starts.")),
        ),
    ]
    .into_iter()
    .filter_map(|(field, fault)| fault.map(|(code, message)| error(field, code, message)))
    .collect()
}

pub(super) fn reason_errors(reason: &str) -> Vec<FieldError> {
    if reason.chars().count() > 500 {
        vec![error("reason", "too-long", "At most 500 characters.")]
    } else if reason.chars().any(is_unprintable) {
        vec![error("reason", "malformed", "Text without control characters.")]
    } else {
        Vec::new()
    }
}

fn error(field: &str, code: &str, message: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn title(title: &str) -> Option<Fault> {
    if title.trim().is_empty() {
        Some(("required", "A title is needed."))
    } else {
        line(title)
    }
}

fn line(text: &str) -> Option<Fault> {
    if text.chars().count() > 200 {
        Some(("too-long", "At most 200 characters."))
    } else if text.chars().any(char::is_control) {
        Some(("malformed", "One line of text."))
    } else {
        None
    }
}

fn description(text: &str) -> Option<Fault> {
    if text.chars().count() > 20_000 {
        Some(("too-long", "At most 20,000 characters."))
    } else if text.chars().any(is_unprintable) {
        Some(("malformed", "Text without control characters."))
    } else {
        None
    }
}

/// Control characters but line breaks and tabs. A NUL, for one, fits into no text column of a read model.
fn is_unprintable(char: char) -> bool {
    char.is_control() && !matches!(char, '\n' | '\r' | '\t')
}

/// Only the form of an IANA name: whether the zone exists is asked where the table is, at the gateway.
fn time_zone(zone: &str) -> Option<Fault> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    if zone.is_empty() {
        Some(("required", "A time zone is needed."))
    } else if zone.len() > 64 || !zone.split('/').all(is_part) {
        Some(("malformed", "An IANA name like Europe/Berlin."))
    } else {
        None
    }
}
