//! Following the event.

use super::*;

#[test]
fn a_published_event_opens_its_roster() {
    assert_eq!(
        given([]).when(SELF, publish(2, seats(1))),
        Ok(vec![opened(2, seats(1))])
    );
}

#[test]
fn an_older_or_equal_command_is_superseded() {
    let roster = given([opened(3, seats(2))]);
    for event_sequence in [1, 2, 3] {
        assert_eq!(roster.when(SELF, publish(event_sequence, seats(9))), Ok(vec![]));
        assert_eq!(
            roster.when(SELF, follow(event_sequence, EventStatus::Cancelled)),
            Ok(vec![])
        );
    }
}

#[test]
fn the_same_terms_again_still_raise_the_sequence() {
    let mut roster = given([opened(2, seats(1))]);
    assert_eq!(roster.when(SELF, publish(4, seats(1))), Ok(vec![changed(4, seats(1))]));

    roster.and([changed(4, seats(1))]);
    assert_eq!(roster.when(SELF, publish(3, seats(9))), Ok(vec![]));
}

#[test]
fn additional_seats_go_to_the_waiting_list() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), waitlisted(EVE)]);
    assert_eq!(
        roster.when(SELF, publish(3, seats(2))),
        Ok(vec![changed(3, seats(2)), promoted(BOB)])
    );
    assert_eq!(
        roster.when(SELF, publish(3, seats(9))),
        Ok(vec![changed(3, seats(9)), promoted(BOB), promoted(EVE)])
    );
}

#[test]
fn additional_seats_stay_free_once_the_event_has_started() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let terms = seats(2);
    let result = roster.when_at(terms.starts_at, Some(SELF), publish(3, terms.clone()));
    assert_eq!(result, Ok(vec![changed(3, terms)]));
}

#[test]
fn a_reduced_capacity_cancels_no_registration() {
    let mut roster = given([opened(2, seats(3)), confirmed(ADA), confirmed(BOB), confirmed(EVE)]);
    assert_eq!(roster.when(SELF, publish(3, seats(1))), Ok(vec![changed(3, seats(1))]));

    roster.and([changed(3, seats(1))]);
    let other = Uuid::from_u128(14);
    assert_eq!(
        roster.when(Actor::User(other), register(other)),
        Ok(vec![waitlisted(other)])
    );
    roster.and([waitlisted(other)]);
    // Three seats are taken and the capacity is one, so two seats must become free before a promotion.
    for user in [ADA, BOB] {
        let event = cancelled(user, CancelReason::ByAttendee, true);
        assert_eq!(roster.when(Actor::User(user), cancel(user)), Ok(vec![event.clone()]));
        roster.and([event]);
    }
    assert_eq!(
        roster.when(Actor::User(EVE), cancel(EVE)),
        Ok(vec![cancelled(EVE, CancelReason::ByAttendee, true), promoted(other)])
    );
}

#[test]
fn waiting_registrations_stay_when_the_waiting_list_is_closed() {
    let mut roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    roster.and([changed(3, without_waiting_list(1))]);
    assert_eq!(roster.when(Actor::User(EVE), register(EVE)), Err(Rejection::EventFull));
    assert_eq!(
        roster.when(Actor::User(ADA), cancel(ADA)),
        Ok(vec![cancelled(ADA, CancelReason::ByAttendee, true), promoted(BOB)])
    );
}

#[test]
fn a_cancelled_event_cancels_every_registration() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Cancelled)),
        Ok(vec![
            closed(3, RosterCloseReason::Cancelled),
            cancelled(ADA, CancelReason::EventCancelled, true),
            cancelled(BOB, CancelReason::EventCancelled, false),
        ])
    );
}

#[test]
fn an_ended_event_keeps_its_registrations() {
    let roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    let closed = closed(3, RosterCloseReason::Ended);
    assert_eq!(roster.when(SELF, follow(3, EventStatus::Ended)), Ok(vec![closed]));
}

#[test]
fn a_closed_roster_stays_closed() {
    for reason in [RosterCloseReason::Cancelled, RosterCloseReason::Ended] {
        let roster = given([opened(2, seats(1)), closed(3, reason)]);
        for follow in [
            publish(4, seats(9)),
            follow(4, EventStatus::Cancelled),
            follow(4, EventStatus::Ended),
        ] {
            assert_eq!(roster.when(SELF, follow), Ok(vec![]));
        }
    }
}

#[test]
fn a_cancellation_may_arrive_before_the_publication() {
    let mut roster = given([]);
    let closed = closed(3, RosterCloseReason::Cancelled);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Cancelled)),
        Ok(vec![closed.clone()])
    );

    roster.and([closed]);
    assert_eq!(roster.when(SELF, publish(2, seats(1))), Ok(vec![]));
    assert_eq!(
        roster.when(Actor::User(ADA), register(ADA)),
        Err(Rejection::EventCancelled)
    );
}

#[test]
fn an_unsupported_command_is_rejected() {
    let roster = given([opened(2, seats(1))]);
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Unknown)),
        Err(Rejection::Unsupported)
    );
    assert_eq!(
        roster.when(SELF, follow(3, EventStatus::Published)),
        Err(Rejection::Unsupported)
    );
}

#[test]
fn only_the_service_itself_sends_follow_event_and_continue_closing() {
    let roster = given([opened(2, seats(1))]);
    for actor in [Some(Actor::User(ORGANIZER)), Some(Actor::service("gateway")), None] {
        assert_eq!(
            roster.when_at(now(), actor.clone(), publish(3, seats(2))),
            Err(Rejection::Forbidden)
        );
        assert_eq!(
            roster.when_at(now(), actor, ContinueClosing {}),
            Err(Rejection::Forbidden)
        );
    }
}

#[test]
fn staff_and_registration_opening_are_followed() {
    let terms = Terms {
        staff: vec![BOB, EVE],
        registration_opens_at: Some(now()),
        ..seats(1)
    };
    let mut roster = given([opened(2, seats(1))]);
    assert_eq!(
        roster.when(SELF, publish(3, terms.clone())),
        Ok(vec![changed(3, terms.clone())])
    );
    roster.and([changed(3, terms.clone())]);
    assert_eq!(roster.roster.terms, Some(terms));
}

#[test]
fn a_rescheduled_event_accepts_registrations_again() {
    let terms = seats(2);
    let closed = terms.registration_closes_at;
    let mut roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB)]);
    assert_eq!(
        roster.when_at(closed, Some(Actor::User(EVE)), register(EVE)),
        Err(Rejection::RegistrationClosed)
    );
    let moved = Terms {
        registration_closes_at: terms.registration_closes_at + 48 * HOUR,
        starts_at: terms.starts_at + 48 * HOUR,
        ends_at: terms.ends_at + 48 * HOUR,
        ..seats(2)
    };
    // Also if the former start has passed, because the new start counts.
    for time in [closed, terms.starts_at] {
        assert_eq!(
            roster.when_at(time, Some(SELF), publish(3, moved.clone())),
            Ok(vec![changed(3, moved.clone()), promoted(BOB)])
        );
    }
    roster.and([changed(3, moved), promoted(BOB)]);
    assert_eq!(
        roster.when_at(closed, Some(Actor::User(EVE)), register(EVE)),
        Ok(vec![waitlisted(EVE)])
    );
}

#[test]
fn an_event_moved_to_an_earlier_time_closes_registration() {
    let sooner = Terms {
        registration_closes_at: now() - HOUR,
        starts_at: now() + HOUR,
        ..seats(1)
    };
    let roster = given([opened(2, seats(1)), changed(3, sooner)]);
    assert_eq!(
        roster.when(Actor::User(ADA), register(ADA)),
        Err(Rejection::RegistrationClosed)
    );
}

#[test]
fn a_checked_in_seat_counts_when_the_capacity_changes() {
    let mut roster = given([opened(2, seats(1)), confirmed(ADA), waitlisted(BOB), checked_in(ADA)]);
    let at = |roster: &Given, terms: Terms| roster.when_at(an_hour_before_the_start(), Some(SELF), publish(3, terms));
    assert_eq!(at(&roster, seats(1)), Ok(vec![changed(3, seats(1))]));
    assert_eq!(at(&roster, seats(2)), Ok(vec![changed(3, seats(2)), promoted(BOB)]));
    roster.and([changed(3, seats(2)), promoted(BOB)]);
    assert_eq!((roster.roster.taken, roster.roster.waiting), (2, 0));
}
