//! Who is here.

use super::*;

fn roster() -> Given {
    given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)])
}

fn by(actor: Actor) -> Option<Actor> {
    Some(actor)
}

#[test]
fn whoever_is_at_the_door_checks_people_in() {
    for actor in [
        Actor::User(ORGANIZER),
        Actor::User(STAFF),
        Actor::Admin(ADMIN),
        Actor::service("gateway"),
    ] {
        assert_eq!(
            roster().when_at(at_the_door(), by(actor), check_in(ADA)),
            Ok(vec![checked_in(ADA)])
        );
    }
}

#[test]
fn people_do_not_check_themselves_in() {
    let own = roster().when_at(at_the_door(), by(Actor::User(ADA)), check_in(ADA));
    assert_eq!(own, Err(Rejection::Forbidden));
    let terms = Terms {
        staff: vec![ADA],
        ..seats(1)
    };
    let staff = given([opened(2, terms), confirmed(ADA)]);
    let own = staff.when_at(at_the_door(), by(Actor::User(ADA)), check_in(ADA));
    assert_eq!(own, Ok(vec![checked_in(ADA)]), "staff may");
}

#[test]
fn whoever_may_have_been_named_just_now_is_waited_for() {
    for actor in [by(Actor::User(EVE)), None] {
        let rejection = roster()
            .when_at(at_the_door(), actor, check_in(ADA))
            .expect_err("not staff");
        assert_eq!(deferred(rejection), "registration-unknown");
    }
}

#[test]
fn a_registration_that_was_not_heard_of_is_waited_for() {
    let unheard = [
        given([]).when(Actor::User(STAFF), check_in(ADA)),
        given([opened(2, seats(1))]).when(Actor::User(STAFF), check_in(ADA)),
        roster().decide(OTHER_EVENT, now(), by(Actor::User(STAFF)), check_in(ADA)),
    ];
    for result in unheard {
        let rejection = result.expect_err("no registration yet");
        assert_eq!(deferred(rejection), "registration-unknown");
    }
}

#[test]
fn a_seat_is_needed_and_it_is_used_once() {
    let mut roster = roster();
    let at_door = |roster: &Given, user| roster.when_at(at_the_door(), by(Actor::User(STAFF)), check_in(user));
    assert_eq!(at_door(&roster, BOB), Err(Rejection::NoSeat));
    roster.and([checked_in(ADA)]);
    assert_eq!(at_door(&roster, ADA), Err(Rejection::AlreadyCheckedIn));
    roster.and([cancelled(BOB, CancelReason::ByAttendee, false)]);
    assert_eq!(at_door(&roster, BOB), Err(Rejection::RegistrationCancelled));
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
fn the_new_time_of_an_event_counts() {
    let Terms { starts_at, ends_at, .. } = seats(1);
    let moved = Terms {
        starts_at: starts_at + 24 * HOUR,
        ends_at: ends_at + 24 * HOUR,
        ..seats(1)
    };
    let mut roster = roster();
    roster.and([changed(3, moved)]);
    let too_early = roster.when_at(at_the_door(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(too_early, Err(Rejection::CheckInNotOpen));
    let in_time = roster.when_at(at_the_door() + 24 * HOUR, by(Actor::User(STAFF)), check_in(ADA));
    assert!(in_time.is_ok());
}

#[test]
fn whoever_was_in_time_is_checked_in_though_it_is_noted_late() {
    let mut roster = roster();
    roster.and([closed(3, RosterCloseReason::Ended)]);
    let in_time = roster.when_at(at_the_door(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(in_time, Ok(vec![checked_in(ADA)]));
}

#[test]
fn nobody_is_checked_in_at_a_cancelled_event() {
    let mut roster = roster();
    roster.and([closed(3, RosterCloseReason::Cancelled)]);
    let result = roster.when_at(at_the_door(), by(Actor::User(STAFF)), check_in(ADA));
    assert_eq!(result, Err(Rejection::EventCancelled));
}

#[test]
fn whoever_is_here_can_not_stay_away_any_more() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    for actor in [Actor::User(ADA), Actor::Admin(ADA)] {
        assert_eq!(
            roster.when_at(at_the_door(), by(actor), cancel(ADA)),
            Err(Rejection::CheckedIn)
        );
    }
}

#[test]
fn the_organizer_can_still_take_the_seat_away() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    for actor in [Actor::User(ORGANIZER), Actor::Admin(ADMIN)] {
        assert_eq!(
            roster.when_at(at_the_door(), by(actor), cancel(ADA)),
            Ok(vec![cancelled(ADA, CancelReason::ByOrganizer, true), promoted(BOB)])
        );
    }
}

#[test]
fn whoever_was_here_stays_on_record_without_an_account() {
    let by_service = CancelRegistration {
        registration_id: of(ADA),
        reason: CancelReason::UserDeactivated,
    };
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    assert_eq!(roster.when_at(at_the_door(), by(SELF), by_service.clone()), Ok(vec![]));
    roster.and([closed(3, RosterCloseReason::Ended)]);
    assert_eq!(roster.when_at(at_the_door(), by(SELF), by_service), Ok(vec![]));
    assert_eq!(roster.roster.taken, 1);
}

#[test]
fn a_cancelled_event_ends_checked_in_registrations_too() {
    let mut roster = roster();
    roster.and([checked_in(ADA)]);
    assert_eq!(
        roster.when_at(at_the_door(), by(SELF), follow(3, EventStatus::Cancelled)),
        Ok(vec![
            closed(3, RosterCloseReason::Cancelled),
            cancelled(ADA, CancelReason::EventCancelled, true),
            cancelled(BOB, CancelReason::EventCancelled, false),
        ])
    );
}
