//! Given these domain events, when this command, then these domain events or this rejection.

mod cancelling;
mod checking_in;
mod following;
mod in_batches;
mod registering;
mod required_rows;

use std::borrow::Cow;
use std::time::Duration;

use contracts::{
    Actor, Aggregate, AttendeeCheckedIn, CancelReason, CancelRegistration, CheckIn, Command, ContinueClosing,
    EventStatus, FollowEvent, Register, RegistrationCancelled, RegistrationCommand, RegistrationEvent, RosterChanged,
    RosterCloseReason, RosterClosed, RosterOpened, SeatConfirmed, SeatPromoted, SeatWaitlisted, Terms, Timestamp,
};
use registration::domain::{Rejection, Roster, SELF, Seating};
use uuid::Uuid;

const EVENT: Uuid = Uuid::from_u128(1);
const OTHER_EVENT: Uuid = Uuid::from_u128(2);
const ORGANIZER: Uuid = Uuid::from_u128(3);
const STAFF: Uuid = Uuid::from_u128(4);
const ADMIN: Uuid = Uuid::from_u128(5);
const ADA: Uuid = Uuid::from_u128(11);
const BOB: Uuid = Uuid::from_u128(12);
const EVE: Uuid = Uuid::from_u128(13);

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00Z").expect("a valid time")
}

fn seats(capacity: i32) -> Terms {
    Terms {
        organizer_id: ORGANIZER,
        capacity,
        waiting_list: true,
        registration_closes_at: now() + 23 * HOUR,
        starts_at: now() + 24 * HOUR,
        ends_at: now() + 27 * HOUR,
        registration_opens_at: None,
        staff: vec![STAFF],
    }
}

fn without_waiting_list(capacity: i32) -> Terms {
    Terms {
        waiting_list: false,
        ..seats(capacity)
    }
}

// Domain events.

fn opened(event_sequence: i64, terms: Terms) -> RegistrationEvent {
    RosterOpened { event_sequence, terms }.into()
}

fn changed(event_sequence: i64, terms: Terms) -> RegistrationEvent {
    RosterChanged { event_sequence, terms }.into()
}

fn closed(event_sequence: i64, reason: RosterCloseReason) -> RegistrationEvent {
    RosterClosed { event_sequence, reason }.into()
}

/// Returns the id of a user's registration.
fn of(user: Uuid) -> Uuid {
    Uuid::from_u128(user.as_u128() + 1_000_000)
}

fn confirmed(user_id: Uuid) -> RegistrationEvent {
    SeatConfirmed {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn waitlisted(user_id: Uuid) -> RegistrationEvent {
    SeatWaitlisted {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn promoted(user_id: Uuid) -> RegistrationEvent {
    SeatPromoted {
        registration_id: of(user_id),
        user_id,
    }
    .into()
}

fn cancelled(user_id: Uuid, reason: CancelReason, had_seat: bool) -> RegistrationEvent {
    RegistrationCancelled {
        registration_id: of(user_id),
        user_id,
        reason,
        had_seat,
    }
    .into()
}

/// Checked in an hour before the start.
fn checked_in(user_id: Uuid) -> RegistrationEvent {
    AttendeeCheckedIn {
        registration_id: of(user_id),
        user_id,
        checked_in_at: an_hour_before_the_start(),
    }
    .into()
}

fn an_hour_before_the_start() -> Timestamp {
    seats(1).starts_at - HOUR
}

// Commands.

fn publish(event_sequence: i64, terms: Terms) -> FollowEvent {
    FollowEvent {
        event_sequence,
        status: EventStatus::Published,
        terms: Some(terms),
    }
}

fn follow(event_sequence: i64, status: EventStatus) -> FollowEvent {
    FollowEvent {
        event_sequence,
        status,
        terms: None,
    }
}

fn register(user_id: Uuid) -> Register {
    Register {
        registration_id: of(user_id),
        user_id,
    }
}

fn cancel(user_id: Uuid) -> CancelRegistration {
    CancelRegistration {
        registration_id: of(user_id),
        reason: CancelReason::ByAttendee,
    }
}

fn check_in(user_id: Uuid) -> CheckIn {
    CheckIn {
        registration_id: of(user_id),
    }
}

struct Given {
    roster: Roster,
    seating: Seating,
}

fn given(events: impl IntoIterator<Item = RegistrationEvent>) -> Given {
    let mut given = Given {
        roster: Roster::default(),
        seating: Seating::default(),
    };
    given.and(events);
    given
}

impl Given {
    fn and(&mut self, events: impl IntoIterator<Item = RegistrationEvent>) {
        for event in events {
            self.roster.evolve(&mut self.seating, EVENT, &event);
        }
    }

    fn when(&self, actor: Actor, body: impl Into<RegistrationCommand>) -> Result<Vec<RegistrationEvent>, Rejection> {
        self.when_at(now(), Some(actor), body)
    }

    fn when_at(
        &self,
        time: Timestamp,
        actor: Option<Actor>,
        body: impl Into<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        self.decide(EVENT, time, actor, body)
    }

    fn decide(
        &self,
        key: Uuid,
        time: Timestamp,
        actor: Option<Actor>,
        body: impl Into<RegistrationCommand>,
    ) -> Result<Vec<RegistrationEvent>, Rejection> {
        let command = Command {
            id: Uuid::from_u128(99),
            key,
            actor,
            time,
            expected_version: None,
            last_attempt: false,
            body: body.into(),
        };
        self.roster.decide(&self.seating, &command)
    }
}

/// Returns the code of a rejection that is immediately final.
fn rejected(rejection: Rejection) -> Cow<'static, str> {
    let rejection = contracts::Rejection::from(rejection);
    assert!(!rejection.deferred, "deferred: {rejection:?}");
    rejection.code
}

/// Returns the code of a rejection that is final only after the last attempt.
fn deferred(rejection: Rejection) -> Cow<'static, str> {
    let rejection = contracts::Rejection::from(rejection);
    assert!(rejection.deferred, "rejected immediately: {rejection:?}");
    rejection.code
}

#[test]
fn each_rejection_maps_to_its_code() {
    let cases = [
        (Rejection::Forbidden, "forbidden"),
        (Rejection::Unsupported, "unsupported"),
        (Rejection::EventCancelled, "event-cancelled"),
        (Rejection::EventEnded, "event-ended"),
        (Rejection::EventStarted, "event-started"),
        (Rejection::RegistrationNotOpen, "registration-not-open"),
        (Rejection::RegistrationClosed, "registration-closed"),
        (Rejection::EventFull, "event-full"),
        (Rejection::UserDeactivated, "user-deactivated"),
        (Rejection::AlreadyRegistered, "already-registered"),
        (Rejection::AlreadyExists, "already-exists"),
        (Rejection::RegistrationUnknown, "registration-unknown"),
        (Rejection::RegistrationCancelled, "registration-cancelled"),
        (Rejection::NoSeat, "no-seat"),
        (Rejection::CheckInNotOpen, "check-in-not-open"),
        (Rejection::CheckInOver, "check-in-over"),
        (Rejection::AlreadyCheckedIn, "already-checked-in"),
        (Rejection::CheckedIn, "checked-in"),
    ];
    for (rejection, code) in cases {
        assert_eq!(rejected(rejection), code);
    }
    assert_eq!(deferred(Rejection::EventUnknown), "event-unknown");
    assert_eq!(deferred(Rejection::RegistrationNotReceived), "registration-unknown");
}
