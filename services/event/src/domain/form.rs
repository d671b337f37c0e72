//! What an event may say, field by field.

use contracts::{Announce, Details, FieldError, Timestamp};
use uuid::Uuid;

type Fault = (&'static str, &'static str);

/// Every field that is at fault. The event must lie ahead of `now`, if that is given: its start can still be moved.
pub(super) fn errors(details: &Details, now: Option<Timestamp>) -> Vec<FieldError> {
    let closes_at = details.registration_closes_at;
    named([
        (
            "title",
            required("A title is needed.", &details.title, line(&details.title)),
        ),
        (
            "description",
            text(&details.description, 20_000, "At most 20,000 characters."),
        ),
        ("venue", line(&details.venue)),
        (
            "starts_at",
            now.is_some_and(|now| details.starts_at <= now)
                .then_some(("in-the-past", "The event must lie ahead.")),
        ),
        (
            "ends_at",
            (details.ends_at <= details.starts_at).then_some(("before-start", "The event must end after it starts.")),
        ),
        ("time_zone", time_zone(&details.time_zone)),
        (
            "capacity",
            (!(1..=1_000_000).contains(&details.capacity)).then_some(("out-of-range", "From 1 to 1,000,000 seats.")),
        ),
        (
            "registration_opens_at",
            details
                .registration_opens_at
                .is_some_and(|opens_at| opens_at >= closes_at)
                .then_some(("after-close", "Registration must open before it closes.")),
        ),
        (
            "registration_closes_at",
            (closes_at > details.starts_at)
                .then_some(("after-start", "Registration must close before the event starts.")),
        ),
    ])
}

/// Fields that are another once the event is public, and may not be: people have made plans.
pub(super) fn reschedule_errors(before: &Details, after: &Details) -> Vec<FieldError> {
    let fault = Some((
        "use-reschedule",
        "The time of a published event is changed by rescheduling it.",
    ));
    named([
        ("starts_at", fault.filter(|_| before.starts_at != after.starts_at)),
        ("ends_at", fault.filter(|_| before.ends_at != after.ends_at)),
    ])
}

/// Fields that are another once the event has started, and may not be.
pub(super) fn started_errors(before: &Details, after: &Details) -> Vec<FieldError> {
    let fixed =
        |is_another: bool| is_another.then_some(("event-started", "This can't change once the event has started."));
    named([
        ("starts_at", fixed(before.starts_at != after.starts_at)),
        ("ends_at", fixed(before.ends_at != after.ends_at)),
        ("time_zone", fixed(before.time_zone != after.time_zone)),
        ("capacity", fixed(before.capacity != after.capacity)),
        (
            "registration_opens_at",
            fixed(before.registration_opens_at != after.registration_opens_at),
        ),
        (
            "registration_closes_at",
            fixed(before.registration_closes_at != after.registration_closes_at),
        ),
        ("waiting_list", fixed(before.waiting_list != after.waiting_list)),
    ])
}

/// `staff` is sorted.
pub(super) fn staff_errors(staff: &[Uuid], organizer: Uuid) -> Vec<FieldError> {
    let fault = if staff.len() > 100 {
        Some(("too-many", "At most 100 people."))
    } else if staff.windows(2).any(|pair| pair[0] == pair[1]) {
        Some(("duplicate", "Everybody once."))
    } else if staff.contains(&organizer) {
        Some(("organizer", "The organizer may check people in anyway."))
    } else {
        None
    };
    named([("staff", fault)])
}

pub(super) fn announcement_errors(announce: &Announce) -> Vec<FieldError> {
    let Announce { subject, body, .. } = announce;
    let body_fault = text(body, 10_000, "At most 10,000 characters.");
    named([
        ("subject", required("A subject is needed.", subject, line(subject))),
        ("body", required("A text is needed.", body, body_fault)),
    ])
}

pub(super) fn reason_errors(reason: &str) -> Vec<FieldError> {
    named([("reason", text(reason, 500, "At most 500 characters."))])
}

fn named<const N: usize>(fields: [(&str, Option<Fault>); N]) -> Vec<FieldError> {
    fields
        .into_iter()
        .filter_map(|(field, fault)| {
            fault.map(|(code, message)| FieldError {
                field: field.to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
            })
        })
        .collect()
}

/// `missing` says that there must be something.
fn required(missing: &'static str, content: &str, fault: Option<Fault>) -> Option<Fault> {
    if content.trim().is_empty() {
        Some(("required", missing))
    } else {
        fault
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

/// Some lines, of `most` characters; `too_long` says so.
fn text(text: &str, most: usize, too_long: &'static str) -> Option<Fault> {
    if text.chars().count() > most {
        Some(("too-long", too_long))
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
