//! Given these domain events, when this command, then these domain events, or this no.

use std::time::Duration;

use contracts::{
    Actor, Aggregate, CancelEvent, Command, CreateEvent, EndEvent, EventCancelled, EventCommand, EventCreated,
    EventEnded, EventEvent, EventPublished, PublishEvent, Refusal, Timestamp,
};
use event::domain::{Event, Rejection, SELF, Status};
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
    }
}

fn created() -> EventEvent {
    let draft = draft();
    EventCreated {
        organizer_id: ADA,
        title: draft.title,
        description: draft.description,
        venue: draft.venue,
        starts_at: draft.starts_at,
        ends_at: draft.ends_at,
        time_zone: draft.time_zone,
        capacity: draft.capacity,
        registration_closes_at: draft.registration_closes_at,
        waiting_list: draft.waiting_list,
    }
    .into()
}

fn published() -> EventEvent {
    let draft = draft();
    EventPublished {
        organizer_id: ADA,
        title: draft.title,
        description: draft.description,
        venue: draft.venue,
        starts_at: draft.starts_at,
        ends_at: draft.ends_at,
        time_zone: draft.time_zone,
        capacity: draft.capacity,
        registration_closes_at: draft.registration_closes_at,
        waiting_list: draft.waiting_list,
    }
    .into()
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

fn faults(result: Result<Vec<EventEvent>, Rejection>) -> Vec<(String, String)> {
    match result {
        Err(Rejection::Invalid(errors)) => errors.into_iter().map(|error| (error.field, error.code)).collect(),
        other => panic!("expected field errors, got {other:?}"),
    }
}

#[test]
fn who_drafts_an_event_organizes_it() {
    let result = when(&given(&[]), Actor::User(ADA), draft());
    assert_eq!(result, Ok(vec![created()]));
    assert_eq!(given(&[created()]).status, Status::Draft);
}

#[test]
fn a_service_organizes_nothing() {
    for actor in [Some(Actor::service("gateway")), None] {
        assert_eq!(when_at(now(), &given(&[]), actor, draft()), Err(Rejection::NoOrganizer));
    }
}

#[test]
fn an_event_is_drafted_once() {
    for events in [vec![created()], vec![created(), published(), cancelled()]] {
        assert_eq!(
            when(&given(&events), Actor::User(ADA), draft()),
            Err(Rejection::AlreadyExists)
        );
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let create = CreateEvent {
        title: " ".into(),
        description: "\0".into(),
        venue: "a\nb".into(),
        starts_at: now(),
        ends_at: now(),
        time_zone: "Europe Berlin".into(),
        capacity: 0,
        registration_closes_at: now() + HOUR,
        waiting_list: false,
    };
    let expected = [
        ("title", "required"),
        ("description", "malformed"),
        ("venue", "malformed"),
        ("starts_at", "in-the-past"),
        ("ends_at", "before-start"),
        ("time_zone", "malformed"),
        ("capacity", "out-of-range"),
        ("registration_closes_at", "after-start"),
    ];
    let found = faults(when(&given(&[]), Actor::User(ADA), create));
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[test]
fn lengths_count_characters() {
    let longest = CreateEvent {
        title: "é".repeat(200),
        description: "é".repeat(20_000),
        venue: "é".repeat(200),
        ..draft()
    };
    assert!(when(&given(&[]), Actor::User(ADA), longest.clone()).is_ok());

    let too_long = CreateEvent {
        title: longest.title + "é",
        description: longest.description + "é",
        venue: longest.venue + "é",
        ..draft()
    };
    let found = faults(when(&given(&[]), Actor::User(ADA), too_long));
    let expected = ["title", "description", "venue"].map(|field| (field.to_owned(), "too-long".to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn the_bounds_themselves_are_fine() {
    for capacity in [1, 1_000_000] {
        let create = CreateEvent {
            capacity,
            venue: String::new(),
            registration_closes_at: starts_at(),
            ..draft()
        };
        assert!(when(&given(&[]), Actor::User(ADA), create).is_ok());
    }
    for capacity in [-1, 0, 1_000_001] {
        let found = faults(when(&given(&[]), Actor::User(ADA), CreateEvent { capacity, ..draft() }));
        assert_eq!(found, [("capacity".into(), "out-of-range".into())]);
    }
}

#[test]
fn a_draft_is_published() {
    for actor in [Actor::User(ADA), Actor::service("gateway")] {
        assert_eq!(
            when(&given(&[created()]), actor, PublishEvent {}),
            Ok(vec![published()])
        );
    }
}

#[test]
fn to_publish_twice_changes_nothing() {
    let event = given(&[created(), published()]);
    assert_eq!(when(&event, Actor::User(ADA), PublishEvent {}), Ok(vec![]));
    assert_eq!(
        when_at(ends_at(), &event, Some(Actor::User(ADA)), PublishEvent {}),
        Ok(vec![])
    );
}

#[test]
fn what_has_started_can_not_be_published() {
    let event = given(&[created()]);
    let result = when_at(starts_at(), &event, Some(Actor::User(ADA)), PublishEvent {});
    assert_eq!(result, Err(Rejection::Started));
}

#[test]
fn what_is_cancelled_or_over_can_not_be_published() {
    let event = given(&[created(), cancelled()]);
    assert_eq!(
        when(&event, Actor::User(ADA), PublishEvent {}),
        Err(Rejection::Cancelled)
    );
    let event = given(&[created(), published(), ended()]);
    assert_eq!(when(&event, Actor::User(ADA), PublishEvent {}), Err(Rejection::Ended));
}

#[test]
fn drafts_and_published_events_can_be_cancelled() {
    for events in [vec![created()], vec![created(), published()]] {
        assert_eq!(when(&given(&events), Actor::User(ADA), cancel()), Ok(vec![cancelled()]));
    }
}

#[test]
fn to_cancel_twice_changes_nothing() {
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), cancel()), Ok(vec![]));
}

#[test]
fn what_is_over_can_not_be_cancelled() {
    let over = given(&[created(), published(), ended()]);
    assert_eq!(when(&over, Actor::User(ADA), cancel()), Err(Rejection::Ended));
    let not_noted_yet = given(&[created(), published()]);
    let result = when_at(ends_at(), &not_noted_yet, Some(Actor::User(ADA)), cancel());
    assert_eq!(result, Err(Rejection::Ended));
}

#[test]
fn a_reason_to_cancel_has_a_form() {
    for (reason, code) in [("a\0b", "malformed"), (&*"a".repeat(501), "too-long")] {
        let result = when(
            &given(&[created()]),
            Actor::User(ADA),
            CancelEvent { reason: reason.into() },
        );
        assert_eq!(faults(result), [("reason".into(), code.into())]);
    }
}

#[test]
fn nobody_else_learns_that_there_is_an_event() {
    for actor in [Some(Actor::User(BOB)), None] {
        for events in [
            vec![],
            vec![created()],
            vec![created(), published()],
            vec![created(), cancelled()],
        ] {
            let event = given(&events);
            assert_eq!(
                when_at(now(), &event, actor.clone(), PublishEvent {}),
                Err(Rejection::Unknown)
            );
            assert_eq!(when_at(now(), &event, actor.clone(), cancel()), Err(Rejection::Unknown));
            assert_eq!(
                when_at(ends_at(), &event, actor.clone(), EndEvent {}),
                Err(Rejection::Unknown)
            );
        }
    }
}

#[test]
fn an_unknown_event_can_be_neither_published_nor_cancelled() {
    assert_eq!(
        when(&given(&[]), Actor::User(ADA), PublishEvent {}),
        Err(Rejection::Unknown)
    );
    assert_eq!(when(&given(&[]), Actor::User(ADA), cancel()), Err(Rejection::Unknown));
}

#[test]
fn a_published_event_ends_when_its_time_is_up() {
    let event = given(&[created(), published()]);
    assert_eq!(when_at(ends_at(), &event, Some(SELF), EndEvent {}), Ok(vec![ended()]));
    assert_eq!(when_at(ends_at() - HOUR, &event, Some(SELF), EndEvent {}), Ok(vec![]));
}

#[test]
fn what_was_not_published_does_not_end() {
    for events in [
        vec![],
        vec![created()],
        vec![created(), published(), cancelled()],
        vec![created(), published(), ended()],
    ] {
        assert_eq!(when_at(ends_at(), &given(&events), Some(SELF), EndEvent {}), Ok(vec![]));
    }
}

#[test]
fn only_the_service_itself_ends_events() {
    let event = given(&[created(), published()]);
    for actor in [Actor::User(ADA), Actor::service("gateway")] {
        assert_eq!(
            when_at(ends_at(), &event, Some(actor), EndEvent {}),
            Err(Rejection::Unknown)
        );
    }
}

#[test]
fn a_no_is_answered_by_code() {
    let cases = [
        (Rejection::Invalid(vec![]), "invalid"),
        (Rejection::AlreadyExists, "already-exists"),
        (Rejection::NoOrganizer, "organizer-required"),
        (Rejection::Unknown, "event-unknown"),
        (Rejection::Started, "event-started"),
        (Rejection::Cancelled, "event-cancelled"),
        (Rejection::Ended, "event-ended"),
    ];
    for (rejection, code) in cases {
        match Refusal::from(rejection) {
            Refusal::Reject(rejected) => assert_eq!(rejected.code, code),
            Refusal::Defer(_) => panic!("nothing here gets better by waiting"),
        }
    }
}
