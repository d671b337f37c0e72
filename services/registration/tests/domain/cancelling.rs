//! Cancelling registrations, and promoting others.

use super::*;

#[test]
fn a_freed_seat_goes_to_the_first_in_line() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)])
    );
}

#[test]
fn two_freed_seats_go_to_two_registrations() {
    let mut roster = given([opened(2, seats(2)), confirmed(ADA), confirmed(BOB), waitlisted(EVE)]);
    let last = Uuid::from_u128(14);
    roster.and([waitlisted(last)]);
    for (user, next) in [(ADA, EVE), (BOB, last)] {
        let events = vec![cancelled(user, CancelReason::ByAttendee, true), promoted(next)];
        assert_eq!(roster.when(Actor::User(user), cancel(user)), Ok(events.clone()));
        roster.and(events);
    }
}

#[test]
fn cancelling_a_waiting_registration_frees_no_seat() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(Actor::User(BOB), cancel(BOB)),
        Ok(vec![cancelled(BOB, CancelReason::ByAttendee, false)])
    );
}

#[test]
fn a_seat_freed_after_registration_closed_is_given_until_the_start() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let seat_freed = cancelled(ADA, CancelReason::ByAttendee, true);
    let at = |time| roster.when_at(time, Some(Actor::User(ADA)), cancel(ADA));
    assert_eq!(at(now() + 23 * HOUR), Ok(vec![seat_freed.clone(), promoted(BOB)]));
    assert_eq!(at(now() + 24 * HOUR), Ok(vec![seat_freed]));
}

#[test]
fn the_reason_follows_from_the_actor() {
    let roster = given([opened(2, seats(1)), confirmed(ADA)]);
    let by = |actor, reason| {
        roster.when(
            actor,
            CancelRegistration {
                registration_id: of(ADA),
                reason,
            },
        )
    };
    let cases = [
        (Actor::User(ADA), CancelReason::EventCancelled, CancelReason::ByAttendee),
        (
            Actor::User(ORGANIZER),
            CancelReason::ByAttendee,
            CancelReason::ByOrganizer,
        ),
        (Actor::Admin(ADMIN), CancelReason::ByAttendee, CancelReason::ByOrganizer),
        (Actor::Admin(ADA), CancelReason::ByOrganizer, CancelReason::ByAttendee),
        (SELF, CancelReason::UserDeactivated, CancelReason::UserDeactivated),
    ];
    for (actor, asked, recorded) in cases {
        assert_eq!(by(actor, asked), Ok(vec![cancelled(ADA, recorded, true)]));
    }
}

#[test]
fn a_registration_is_unknown_to_other_users() {
    let active = given([opened(2, seats(1)), confirmed(ADA)]);
    let ended = given([
        opened(2, seats(1)),
        confirmed(ADA),
        cancelled(ADA, CancelReason::ByAttendee, true),
    ]);
    for actor in [Some(Actor::User(BOB)), None] {
        assert_eq!(
            active.when_at(now(), actor.clone(), cancel(ADA)),
            Err(Rejection::RegistrationUnknown)
        );
        assert_eq!(
            ended.when_at(now(), actor, cancel(ADA)),
            Err(Rejection::RegistrationUnknown)
        );
    }
}

#[test]
fn a_cancellation_is_deferred_while_the_registration_is_unknown() {
    let of_another_event = given([opened(2, seats(1)), confirmed(ADA)]);
    let results = [
        given([]).when(Actor::User(ADA), cancel(ADA)),
        given([opened(2, seats(1))]).when(Actor::User(ADA), cancel(ADA)),
        of_another_event.decide(OTHER_EVENT, now(), Some(Actor::User(ADA)), cancel(ADA)),
    ];
    for result in results {
        let rejection = result.expect_err("no registration yet");
        assert_eq!(deferred(rejection), "registration-unknown");
    }
}

#[test]
fn cancelling_twice_changes_nothing() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        cancelled(ADA, CancelReason::ByAttendee, true),
    ]);
    assert_eq!(roster.when(Actor::User(ADA), cancel(ADA)), Ok(vec![]));
}

#[test]
fn only_a_closed_account_cancels_registrations_after_the_end() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        waitlisted(BOB),
        closed(3, RosterCloseReason::Ended),
    ]);
    for actor in [Actor::User(ADA), Actor::User(ORGANIZER), Actor::Admin(ADMIN)] {
        assert_eq!(roster.when(actor, cancel(ADA)), Err(Rejection::EventEnded));
    }
    let by_service = CancelRegistration {
        registration_id: of(ADA),
        reason: CancelReason::UserDeactivated,
    };
    assert_eq!(
        roster.when(SELF, by_service),
        Ok(vec![cancelled(ADA, CancelReason::UserDeactivated, true)])
    );
}

#[test]
fn a_registration_of_a_cancelled_event_is_cancelled_with_that_reason() {
    let roster = given([
        opened(2, seats(1)),
        confirmed(ADA),
        waitlisted(BOB),
        closed(3, RosterCloseReason::Cancelled),
    ]);
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::EventCancelled, true)])
    );
}
