//! Registering: a seat or the waiting list.

use super::*;

#[test]
fn the_first_registration_gets_the_seat_and_the_next_one_waits() {
    let mut roster = given([opened(2, seats(1))]);
    assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Ok(vec![confirmed(ADA)]));
    roster.and([confirmed(ADA)]);
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Ok(vec![waitlisted(BOB)]));
}

#[test]
fn a_full_event_without_a_waiting_list_rejects_registrations() {
    let roster = given([opened(2, without_waiting_list(1)), confirmed(ADA)]);
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Err(Rejection::EventFull));
}

#[test]
fn a_registration_is_deferred_while_the_event_is_unknown() {
    let rejection = given([])
        .when(Actor::User(ADA), register(ADA))
        .expect_err("no roster yet");
    assert_eq!(rejection, Rejection::EventUnknown);
    assert_eq!(deferred(rejection), "event-unknown");
}

#[test]
fn a_registration_is_rejected_after_closing_and_after_the_start() {
    let roster = given([opened(2, seats(1))]);
    let at = |time| roster.when_at(time, Some(Actor::User(ADA)), register(ADA));
    assert_eq!(
        at(now() + 23 * HOUR - Duration::from_micros(1)),
        Ok(vec![confirmed(ADA)])
    );
    assert_eq!(at(now() + 23 * HOUR), Err(Rejection::RegistrationClosed));
    assert_eq!(at(now() + 24 * HOUR), Err(Rejection::EventStarted));
}

#[test]
fn registration_opens_at_its_time() {
    let opens_at = now() + HOUR;
    let terms = Terms {
        registration_opens_at: Some(opens_at),
        ..seats(1)
    };
    let roster = given([opened(2, terms)]);
    let at = |time| roster.when_at(time, Some(Actor::User(ADA)), register(ADA));
    assert_eq!(
        at(opens_at - Duration::from_micros(1)),
        Err(Rejection::RegistrationNotOpen)
    );
    assert_eq!(at(opens_at), Ok(vec![confirmed(ADA)]));
}

#[test]
fn a_registration_for_a_cancelled_or_ended_event_is_rejected() {
    let cases = [
        (RosterCloseReason::Cancelled, Rejection::EventCancelled),
        (RosterCloseReason::Ended, Rejection::EventEnded),
        (RosterCloseReason::Unknown, Rejection::EventEnded),
    ];
    for (reason, rejection) in cases {
        let roster = given([opened(2, seats(1)), closed(3, reason)]);
        assert_eq!(roster.when(Actor::User(ADA), register(ADA)), Err(rejection));
    }
}

#[test]
fn a_user_has_one_active_registration_for_an_event() {
    let again = Register {
        registration_id: Uuid::from_u128(77),
        user_id: ADA,
    };
    for first in [confirmed(ADA), waitlisted(ADA)] {
        let mut roster = given([opened(2, seats(9)), first.clone()]);
        assert_eq!(
            roster.when(Actor::User(ADA), again.clone()),
            Err(Rejection::AlreadyRegistered)
        );

        let had_seat = first == confirmed(ADA);
        roster.and([cancelled(ADA, CancelReason::ByAttendee, had_seat)]);
        let second = SeatConfirmed {
            registration_id: again.registration_id,
            user_id: ADA,
        };
        assert_eq!(roster.when(Actor::User(ADA), again.clone()), Ok(vec![second.into()]));
    }
}

#[test]
fn a_registration_id_is_used_once() {
    let taken_by_ada = Register {
        registration_id: of(ADA),
        user_id: BOB,
    };
    let mut roster = given([opened(2, seats(9)), confirmed(ADA)]);
    assert_eq!(
        roster.when(Actor::User(BOB), taken_by_ada.clone()),
        Err(Rejection::AlreadyExists)
    );
    roster.and([cancelled(ADA, CancelReason::ByAttendee, true)]);
    assert_eq!(
        roster.when(Actor::User(BOB), taken_by_ada),
        Err(Rejection::AlreadyExists)
    );
}

#[test]
fn a_closed_account_gets_no_seat() {
    let mut roster = given([opened(2, seats(1))]);
    roster.seating.add_deactivated(ADA);
    assert_eq!(
        roster.when(Actor::User(ADA), register(ADA)),
        Err(Rejection::UserDeactivated)
    );
    assert_eq!(roster.when(Actor::User(BOB), register(BOB)), Ok(vec![confirmed(BOB)]));
}

#[test]
fn users_register_only_themselves() {
    let roster = given([opened(2, seats(1))]);
    for actor in [Some(Actor::User(BOB)), Some(Actor::User(ORGANIZER)), None] {
        assert_eq!(roster.when_at(now(), actor, register(ADA)), Err(Rejection::Forbidden));
    }
    for actor in [Actor::service("gateway"), Actor::Admin(ADMIN)] {
        assert_eq!(roster.when(actor, register(ADA)), Ok(vec![confirmed(ADA)]));
    }
}
