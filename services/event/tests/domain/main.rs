//! Given these domain events, when this command, then these domain events or this rejection.

mod announce;
mod change;
mod life;
mod reschedule;
mod staff;

use std::time::Duration;

use contracts::{
    Actor, Aggregate, CancelEvent, ChangeEvent, Command, CreateEvent, Details, EndEvent, EventCancelled, EventChanged,
    EventCommand, EventCreated, EventEnded, EventEvent, EventPublished, EventRescheduled, FieldError, NameStaff,
    PublishEvent, RescheduleEvent, Timestamp,
};
use event::domain::{Event, Rejection};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const ADA: Uuid = Uuid::from_u128(2);
const BOB: Uuid = Uuid::from_u128(3);

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").expect("a valid time")
}

fn starts_at() -> Timestamp {
    now() + 24 * HOUR
}

fn ends_at() -> Timestamp {
    starts_at() + 3 * HOUR
}

fn draft() -> CreateEvent {
    CreateEvent {
        title: "On computable numbers".into(),
        description: "With an application.\n\nBring paper.".into(),
        venue: "Room 12".into(),
        starts_at: starts_at(),
        ends_at: ends_at(),
        time_zone: "Europe/London".into(),
        capacity: 40,
        registration_closes_at: starts_at() - HOUR,
        waiting_list: true,
        registration_opens_at: Some(now() + HOUR),
    }
}

fn created() -> EventEvent {
    EventCreated { details: details() }.into()
}

/// The details as drafted.
fn details() -> Details {
    let draft = draft();
    Details {
        organizer_id: ADA,
        title: draft.title,
        description: draft.description,
        venue: draft.venue,
        starts_at: draft.starts_at,
        ends_at: draft.ends_at,
        time_zone: draft.time_zone,
        capacity: draft.capacity,
        registration_opens_at: draft.registration_opens_at,
        registration_closes_at: draft.registration_closes_at,
        waiting_list: draft.waiting_list,
        staff: Vec::new(),
    }
}

fn published() -> EventEvent {
    EventPublished { details: details() }.into()
}

fn cancelled() -> EventEvent {
    EventCancelled {
        reason: "rain".into(),
        cancelled_at: now(),
    }
    .into()
}

fn ended() -> EventEvent {
    EventEnded { ended_at: ends_at() }.into()
}

fn cancel() -> CancelEvent {
    CancelEvent { reason: "rain".into() }
}

/// A change of the event to these details.
fn changed(details: Details, published: bool) -> EventEvent {
    EventChanged { details, published }.into()
}

/// A move of the event to the time in these details.
fn rescheduled(details: Details) -> EventEvent {
    EventRescheduled {
        details,
        previous_starts_at: starts_at(),
        previous_ends_at: ends_at(),
    }
    .into()
}

/// A move of all times of the event by `later`.
fn rescheduled_by(later: Duration) -> EventEvent {
    rescheduled(Details {
        starts_at: starts_at() + later,
        ends_at: ends_at() + later,
        registration_opens_at: details().registration_opens_at.map(|time| time + later),
        registration_closes_at: details().registration_closes_at + later,
        ..details()
    })
}

/// A command that moves the event to this start and keeps its duration.
fn to(starts_at: Timestamp) -> RescheduleEvent {
    RescheduleEvent {
        starts_at,
        ends_at: starts_at + 3 * HOUR,
        time_zone: None,
        registration_opens_at: None,
        registration_closes_at: None,
    }
}

fn given(events: &[EventEvent]) -> Event {
    let mut event = Event::default();
    for recorded in events {
        event.evolve(&mut (), EVENT, recorded);
    }
    event
}

fn when(event: &Event, actor: Actor, body: impl Into<EventCommand>) -> Result<Vec<EventEvent>, Rejection> {
    when_at(now(), event, Some(actor), body)
}

fn when_at(
    time: Timestamp,
    event: &Event,
    actor: Option<Actor>,
    body: impl Into<EventCommand>,
) -> Result<Vec<EventEvent>, Rejection> {
    let command = Command {
        id: Uuid::from_u128(99),
        key: EVENT,
        actor,
        time,
        expected_version: None,
        last_attempt: false,
        body: body.into(),
    };
    event.decide(&(), &command)
}

/// Returns the invalid fields with their codes.
fn invalid_fields(result: Result<Vec<EventEvent>, Rejection>) -> Vec<(String, String)> {
    match result {
        Err(Rejection::Invalid(errors)) => named(errors),
        other => panic!("expected field errors, got {other:?}"),
    }
}

fn named(errors: Vec<FieldError>) -> Vec<(String, String)> {
    errors.into_iter().map(|error| (error.field, error.code)).collect()
}

/// Returns these fields with the same code.
fn all<const N: usize>(fields: [&str; N], code: &str) -> [(String, String); N] {
    fields.map(|field| (field.to_owned(), code.to_owned()))
}

#[test]
fn an_event_is_unknown_to_other_users() {
    for actor in [Some(Actor::User(BOB)), None] {
        for events in [
            vec![],
            vec![created()],
            vec![created(), published()],
            vec![created(), cancelled()],
        ] {
            let event = given(&events);
            let commands: [EventCommand; 7] = [
                ChangeEvent::default().into(),
                PublishEvent {}.into(),
                to(starts_at()).into(),
                NameStaff { staff: vec![] }.into(),
                announce::thanks().into(),
                cancel().into(),
                EndEvent {}.into(),
            ];
            for body in commands {
                assert_eq!(when_at(now(), &event, actor.clone(), body), Err(Rejection::Unknown));
            }
        }
    }
}

#[test]
fn each_rejection_maps_to_its_code() {
    let cases = [
        (Rejection::Invalid(vec![]), "invalid"),
        (Rejection::AlreadyExists, "already-exists"),
        (Rejection::NoOrganizer, "organizer-required"),
        (Rejection::Unknown, "event-unknown"),
        (Rejection::NotPublished, "event-not-published"),
        (Rejection::UseReschedule(vec![]), "use-reschedule"),
        (Rejection::Started(vec![]), "event-started"),
        (Rejection::Cancelled, "event-cancelled"),
        (Rejection::Ended, "event-ended"),
    ];
    for (rejection, code) in cases {
        let rejection = contracts::Rejection::from(rejection);
        assert_eq!(rejection.code, code);
        assert!(!rejection.deferred, "{code}");
    }
}
