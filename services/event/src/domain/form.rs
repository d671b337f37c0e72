//! Validation of the fields of an event.

use contracts::{Announce, Details, FieldError, Timestamp};
use uuid::Uuid;

/// Code and message of an invalid field.
type Fault = (&'static str, &'static str);

/// Returns every invalid field. If `now` is given, the event must start after it, because its start can still be changed.
pub(super) fn errors(details: &Details, now: Option<Timestamp>) -> Vec<FieldError> {
    let closes_at = details.registration_closes_at;
    named([
        (
            "title",
            required("Enter a title.", &details.title, line(&details.title)),
        ),
        (
            "description",
            text(&details.description, 20_000, "Use at most 20,000 characters."),
        ),
        ("venue", line(&details.venue)),
        (
            "starts_at",
            now.is_some_and(|now| details.starts_at <= now)
                .then_some(("in-the-past", "The event must start in the future.")),
        ),
        (
            "ends_at",
            (details.ends_at <= details.starts_at).then_some(("before-start", "The event must end after it starts.")),
        ),
        ("time_zone", contracts::check_time_zone(&details.time_zone)),
        (
            "capacity",
            (!(1..=1_000_000).contains(&details.capacity))
                .then_some(("out-of-range", "Enter a number from 1 to 1,000,000.")),
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
            (closes_at > details.starts_at).then_some((
                "after-start",
                "Registration must close before or when the event starts.",
            )),
        ),
    ])
}

/// Returns the changed fields that can be changed only by rescheduling once the event is published, because attendees
/// have made plans and are notified of a new time.
pub(super) fn reschedule_errors(before: &Details, after: &Details) -> Vec<FieldError> {
    let fault = Some(("use-reschedule", "Reschedule the event to change this time."));
    named([
        ("starts_at", fault.filter(|_| before.starts_at != after.starts_at)),
        ("ends_at", fault.filter(|_| before.ends_at != after.ends_at)),
    ])
}

/// Returns the changed fields that must not change after the start.
pub(super) fn started_errors(before: &Details, after: &Details) -> Vec<FieldError> {
    let fixed = |differs: bool| {
        differs.then_some((
            "event-started",
            "This field cannot be changed after the event has started.",
        ))
    };
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

/// Returns the errors of the list of staff, which must be sorted.
pub(super) fn staff_errors(staff: &[Uuid], organizer: Uuid) -> Vec<FieldError> {
    let fault = if staff.len() > 100 {
        Some(("too-many", "List at most 100 users."))
    } else if staff.windows(2).any(|pair| pair[0] == pair[1]) {
        Some(("duplicate", "List each user only once."))
    } else if staff.contains(&organizer) {
        Some(("organizer", "Remove the organizer, who can already check in attendees."))
    } else {
        None
    };
    named([("staff", fault)])
}

pub(super) fn announcement_errors(announce: &Announce) -> Vec<FieldError> {
    let Announce { subject, body, .. } = announce;
    let body_fault = text(body, 10_000, "Use at most 10,000 characters.");
    named([
        ("subject", required("Enter a subject.", subject, line(subject))),
        (
            "body",
            required("Enter the text of the announcement.", body, body_fault),
        ),
    ])
}

pub(super) fn reason_errors(reason: &str) -> Vec<FieldError> {
    named([("reason", text(reason, 500, "Use at most 500 characters."))])
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

/// Returns `missing` as the message if the content is blank, otherwise `fault`.
fn required(missing: &'static str, content: &str, fault: Option<Fault>) -> Option<Fault> {
    if content.trim().is_empty() {
        Some(("required", missing))
    } else {
        fault
    }
}

fn line(text: &str) -> Option<Fault> {
    if text.chars().count() > 200 {
        Some(("too-long", "Use at most 200 characters."))
    } else if text.chars().any(char::is_control) {
        Some(("malformed", "Use a single line without control characters."))
    } else {
        None
    }
}

/// Checks a multi-line text. `too_long` is the message for more than `most` characters.
fn text(text: &str, most: usize, too_long: &'static str) -> Option<Fault> {
    if text.chars().count() > most {
        Some(("too-long", too_long))
    } else if text.chars().any(is_unprintable) {
        Some(("malformed", "Remove the control characters."))
    } else {
        None
    }
}

/// Returns `true` for control characters except line breaks and tabs. No text column can store a NUL, for example.
fn is_unprintable(char: char) -> bool {
    char.is_control() && !matches!(char, '\n' | '\r' | '\t')
}
