//! Checking in attendees.

use super::*;

fn roster() -> Given {
    given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)])
}

fn by(actor: Actor) -> Option<Actor> {
    Some(actor)
}

#[test]
fn organizers_staff_admins_and_services_check_in_attendees() {
    for actor in [
        Actor::User(ORGANIZER),
        Actor::User(STAFF),
        Actor::Admin(ADMIN),
        Actor::service("gateway"),
    ] {
        assert_eq!(
            roster().when_at(an_hour_before_the_start(), by(actor), check_in(ADA)),
            Ok(vec![checked_in(ADA)])
        );
    }
}

#[test]
fn attendees_cannot_check_in_themselves_unless_they_are_staff() {
    let own = roster().when_at(an_hour_before_the_start(), by(Actor::User(ADA)), check_in(ADA));
    assert_eq!(own, Err(Rejection::Forbidden));
    let terms = Terms {
        staff: vec![ADA],
        ..seats(1)
    };
    let staff = given([opened(2, terms), confirmed(ADA)]);
    let own = staff.when_at(an_hour_before_the_start(), by(Actor::User(ADA)), check_in(ADA));
    assert_eq!(own, Ok(vec![checked_in(ADA)]), "staff may check in themselves");
}

#[test]
fn a_check_in_by_a_user_who_is_not_staff_yet_is_deferred() {
    for actor in [by(Actor::User(EVE)), None] {
        let rejection = roster()
            .when_at(an_hour_before_the_start(), actor, check_in(ADA))
            .expect_err("not staff");
        assert_eq!(deferred(rejection), "registration-unknown");
    }
}

#[test]
fn a_check_in_is_deferred_while_the_registration_is_unknown() {
    let results = [
        given([]).when(Actor::User(STAFF), check_in(ADA)),
        given([opened(2, seats(1))]).when(Actor::User(STAFF), check_in(ADA)),
        roster().decide(OTHER_EVENT, now(), by(Actor::User(STAFF)), check_in(ADA)),
    ];
    for result in results {
        let rejection = result.expect_err("no registration yet");
        assert_eq!(deferred(rejection), "registration-unknown");
    }
}

#[test]
fn a_check_in_needs_a_seat_and_happens_once() {
    let mut roster = roster();
    let at_start =
        |roster: &Given, user| roster.when_at(an_hour_before_the_start(), by(Actor::User(STAFF)), check_in(user));
    assert_eq!(at_start(&roster, BOB), Err(Rejection::NoSeat));
    roster.and([checked_in(ADA)]);
    assert_eq!(at_start(&roster, ADA), Err(Rejection::AlreadyCheckedIn));
    roster.and([cancelled(BOB, CancelReason::ByAttendee, false)]);
    assert_eq!(at_start(&roster, BOB), Err(Rejection::RegistrationCancelled));
}

#[test]
fn check_in_is_from_two_hours_before_the_start_until_the_end() {
    let Terms { starts_at, ends_at, .. } = seats(1);
    let at = |time| {
        let decision = roster().when_at(time, by(Actor::User(STAFF)), check_in(ADA));
        decision.map(|events| events.len())
    };
    let moment = Duration::from_micros(1);
    assert_eq!(at(starts_at - 2 * HOUR - moment), Err(Rejection::CheckInNotOpen));
    assert_eq!(at(starts_at - 2 * HOUR), Ok(1));
    assert_eq!(at(ends_at - moment), Ok(1));
    assert_eq!(at(ends_at), Err(Rejection::CheckInOver));
}

#[test]
fn check_in_follows_the_new_time_of_an_event() {
    let Terms { starts_at, ends_at, .. } = seats(1);
    let moved = Terms {
        starts_at: starts_at + 24 * HOUR,
        ends_at: ends_at + 24 * HOUR,
        ..seats(1)
    };
    let mut roster = roster();
    roster.and([changed(3, moved)]);
    let too_early = roster.when_at(an_hour_before_the_start(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(too_early, Err(Rejection::CheckInNotOpen));
    let in_time = roster.when_at(
        an_hour_before_the_start() + 24 * HOUR,
        by(Actor::User(STAFF)),
        check_in(ADA),
    );
    assert!(in_time.is_ok());
}

#[test]
fn a_check_in_in_time_is_accepted_even_if_it_arrives_after_the_end() {
    let mut roster = roster();
    roster.and([closed(3, RosterCloseReason::Ended)]);
    let in_time = roster.when_at(an_hour_before_the_start(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(in_time, Ok(vec![checked_in(ADA)]));
}

#[test]
fn a_check_in_at_a_cancelled_event_is_rejected() {
    let mut roster = roster();
    roster.and([closed(3, RosterCloseReason::Cancelled)]);
    let result = roster.when_at(an_hour_before_the_start(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(result, Err(Rejection::EventCancelled));
}

#[test]
fn attendees_cannot_cancel_after_check_in() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    for actor in [Actor::User(ADA), Actor::Admin(ADA)] {
        assert_eq!(
            roster.when_at(an_hour_before_the_start(), by(actor), cancel(ADA)),
            Err(Rejection::CheckedIn)
        );
    }
}

#[test]
fn the_organizer_can_cancel_a_checked_in_registration() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    for actor in [Actor::User(ORGANIZER), Actor::Admin(ADMIN)] {
        assert_eq!(
            roster.when_at(an_hour_before_the_start(), by(actor), cancel(ADA)),
            Ok(vec![cancelled(ADA, CancelReason::ByOrganizer, true), promoted(BOB)])
        );
    }
}

#[test]
fn a_checked_in_registration_is_kept_when_the_account_is_closed() {
    let by_service = CancelRegistration {
        registration_id: of(ADA),
        reason: CancelReason::UserDeactivated,
    };
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    assert_eq!(
        roster.when_at(an_hour_before_the_start(), by(SELF), by_service.clone()),
        Ok(vec![])
    );
    roster.and([closed(3, RosterCloseReason::Ended)]);
    assert_eq!(
        roster.when_at(an_hour_before_the_start(), by(SELF), by_service),
        Ok(vec![])
    );
    assert_eq!(roster.roster.taken, 1);
}

#[test]
fn a_cancelled_event_cancels_checked_in_registrations_too() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    assert_eq!(
        roster.when_at(an_hour_before_the_start(), by(SELF), follow(3, EventStatus::Cancelled)),
        Ok(vec![
            closed(3, RosterCloseReason::Cancelled),
            cancelled(ADA, CancelReason::EventCancelled, true),
            cancelled(BOB, CancelReason::EventCancelled, false),
        ])
    );
}
