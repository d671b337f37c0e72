//! Rescheduling a published event.

use super::*;

#[test]
fn rescheduling_moves_the_registration_window_too() {
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        let event = given(&[created(), published()]);
        let later = when(&event, actor, to(starts_at() + 5 * HOUR));
        assert_eq!(later, Ok(vec![rescheduled_by(5 * HOUR)]));
    }
}

#[test]
fn the_opening_of_registration_stays_once_it_has_passed() {
    let event = given(&[created(), published()]);
    let opens_at = details().registration_opens_at.expect("it has one");
    let result = when_at(opens_at, &event, Some(Actor::User(ADA)), to(starts_at() - 3 * HOUR));
    let moved = rescheduled(Details {
        starts_at: starts_at() - 3 * HOUR,
        ends_at: ends_at() - 3 * HOUR,
        registration_closes_at: details().registration_closes_at - 3 * HOUR,
        ..details()
    });
    assert_eq!(result, Ok(vec![moved]));
}

#[test]
fn times_that_the_command_sets_are_taken() {
    let reschedule = RescheduleEvent {
        starts_at: starts_at() + HOUR,
        ends_at: ends_at(),
        time_zone: Some("Europe/Paris".into()),
        registration_opens_at: Some(now() + 3 * HOUR),
        registration_closes_at: Some(starts_at()),
    };
    let moved = rescheduled(Details {
        starts_at: starts_at() + HOUR,
        time_zone: "Europe/Paris".into(),
        registration_opens_at: Some(now() + 3 * HOUR),
        registration_closes_at: starts_at(),
        ..details()
    });
    let event = given(&[created(), published()]);
    assert_eq!(when(&event, Actor::User(ADA), reschedule), Ok(vec![moved]));
}

#[test]
fn an_invalid_new_time_is_rejected() {
    let event = given(&[created(), published()]);
    let reschedule = RescheduleEvent {
        starts_at: now(),
        ends_at: now(),
        time_zone: Some("Paris, France".into()),
        registration_opens_at: Some(now() + 2 * HOUR),
        registration_closes_at: Some(now() + HOUR),
    };
    let expected = [
        ("starts_at", "in-the-past"),
        ("ends_at", "before-start"),
        ("time_zone", "malformed"),
        ("registration_opens_at", "after-close"),
        ("registration_closes_at", "after-start"),
    ];
    let found = invalid_fields(when(&event, Actor::User(ADA), reschedule));
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[test]
fn rescheduling_to_the_same_time_changes_nothing() {
    let event = given(&[created(), published()]);
    assert_eq!(when(&event, Actor::User(ADA), to(starts_at())), Ok(vec![]));
}

#[test]
fn a_new_registration_window_alone_is_a_change_and_not_a_rescheduling() {
    let reschedule = RescheduleEvent {
        registration_closes_at: Some(starts_at()),
        ..to(starts_at())
    };
    let details = Details {
        registration_closes_at: starts_at(),
        ..details()
    };
    let event = given(&[created(), published()]);
    assert_eq!(
        when(&event, Actor::User(ADA), reschedule),
        Ok(vec![changed(details, true)])
    );
}

#[test]
fn only_a_published_event_that_has_not_started_is_rescheduled() {
    let result = |events: &[EventEvent], time| {
        when_at(
            time,
            &given(events),
            Some(Actor::User(ADA)),
            to(starts_at() + 24 * HOUR),
        )
    };
    assert_eq!(result(&[created()], now()), Err(Rejection::NotPublished));
    assert_eq!(
        result(&[created(), published()], starts_at()),
        Err(Rejection::Started(vec![]))
    );
    assert_eq!(result(&[created(), published()], ends_at()), Err(Rejection::Ended));
    assert_eq!(
        result(&[created(), published(), ended()], ends_at()),
        Err(Rejection::Ended)
    );
    assert_eq!(
        result(&[created(), published(), cancelled()], now()),
        Err(Rejection::Cancelled)
    );
}
