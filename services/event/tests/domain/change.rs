//! What can still be put right, and when.

use super::*;

fn title(title: &str) -> ChangeEvent {
    ChangeEvent {
        title: Some(title.into()),
        ..ChangeEvent::default()
    }
}

/// Everything is another.
fn everything() -> (ChangeEvent, Details) {
    let details = Details {
        organizer_id: ADA,
        title: "Computing machinery".into(),
        description: "# And intelligence".into(),
        venue: "Room 13".into(),
        starts_at: starts_at() + HOUR,
        ends_at: ends_at() + 2 * HOUR,
        time_zone: "Europe/Paris".into(),
        capacity: 41,
        registration_opens_at: Some(now() + 2 * HOUR),
        registration_closes_at: starts_at() - 2 * HOUR,
        waiting_list: false,
        staff: vec![],
    };
    let Details {
        title,
        description,
        venue,
        starts_at,
        ends_at,
        time_zone,
        capacity,
        registration_opens_at,
        registration_closes_at,
        waiting_list,
        ..
    } = details.clone();
    let change = ChangeEvent {
        title: Some(title),
        description: Some(description),
        venue: Some(venue),
        starts_at: Some(starts_at),
        ends_at: Some(ends_at),
        time_zone: Some(time_zone),
        capacity: Some(capacity),
        registration_opens_at,
        registration_closes_at: Some(registration_closes_at),
        waiting_list: Some(waiting_list),
    };
    (change, details)
}

#[test]
fn of_a_draft_everything_can_change() {
    let (change, details) = everything();
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        assert_eq!(
            when(&given(&[created()]), actor, change.clone()),
            Ok(vec![changed(details.clone(), false)])
        );
    }
}

#[test]
fn what_is_not_named_stays() {
    let staffed = Details {
        staff: vec![BOB],
        ..details()
    };
    let event = given(&[created(), changed(staffed.clone(), false)]);
    let renamed = Details {
        title: "Other numbers".into(),
        ..staffed
    };
    assert_eq!(
        when(&event, Actor::User(ADA), title("Other numbers")),
        Ok(vec![changed(renamed, false)])
    );
}

#[test]
fn once_published_all_but_the_time_can_change() {
    let (change, details) = everything();
    let change = ChangeEvent {
        starts_at: None,
        ends_at: None,
        ..change
    };
    let details = Details {
        starts_at: starts_at(),
        ends_at: ends_at(),
        ..details
    };
    assert_eq!(
        when(&given(&[created(), published()]), Actor::User(ADA), change),
        Ok(vec![changed(details, true)])
    );
}

#[test]
fn once_published_its_time_is_rescheduled() {
    let (change, _) = everything();
    match when(&given(&[created(), published()]), Actor::User(ADA), change) {
        Err(Rejection::UseReschedule(errors)) => {
            assert_eq!(named(errors), all(["starts_at", "ends_at"], "use-reschedule"));
        }
        other => panic!("expected to be told to reschedule, got {other:?}"),
    }
}

#[test]
fn its_own_time_is_no_change_of_time() {
    let (change, _) = everything();
    let change = ChangeEvent {
        starts_at: Some(starts_at()),
        ends_at: Some(ends_at()),
        ..change
    };
    assert!(when(&given(&[created(), published()]), Actor::User(ADA), change).is_ok());
}

#[test]
fn after_the_start_it_can_only_be_described_better() {
    let event = given(&[created(), published()]);
    let at = |time, change| when_at(time, &event, Some(Actor::User(ADA)), change);
    let (change, after) = everything();
    match at(starts_at(), change.clone()) {
        Err(Rejection::Started(errors)) => {
            let fixed = [
                "starts_at",
                "ends_at",
                "time_zone",
                "capacity",
                "registration_opens_at",
                "registration_closes_at",
                "waiting_list",
            ];
            assert_eq!(named(errors), all(fixed, "event-started"));
        }
        other => panic!("expected a no, got {other:?}"),
    }

    let described = ChangeEvent {
        title: change.title,
        description: change.description,
        venue: change.venue,
        ..ChangeEvent::default()
    };
    let details = Details {
        title: after.title,
        description: after.description,
        venue: after.venue,
        ..details()
    };
    assert_eq!(at(starts_at(), described), Ok(vec![changed(details, true)]));
}

#[test]
fn what_is_cancelled_or_over_does_not_change() {
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), title("x")), Err(Rejection::Cancelled));
    let event = given(&[created(), published(), ended()]);
    assert_eq!(when(&event, Actor::User(ADA), title("x")), Err(Rejection::Ended));
    let not_noted_yet = given(&[created(), published()]);
    let result = when_at(ends_at(), &not_noted_yet, Some(Actor::User(ADA)), title("x"));
    assert_eq!(result, Err(Rejection::Ended));
}

#[test]
fn to_change_nothing_is_accepted() {
    for events in [vec![created()], vec![created(), published()]] {
        let event = given(&events);
        assert_eq!(when(&event, Actor::User(ADA), ChangeEvent::default()), Ok(vec![]));
        let same = title("On computable numbers");
        assert_eq!(when(&event, Actor::User(ADA), same), Ok(vec![]));
    }
}

#[test]
fn what_comes_of_it_must_be_valid_as_a_whole() {
    let change = ChangeEvent {
        title: Some(" ".into()),
        registration_closes_at: Some(now() + HOUR),
        capacity: Some(0),
        ..ChangeEvent::default()
    };
    let expected = [
        ("title", "required"),
        ("capacity", "out-of-range"),
        // It stayed, and is wrong now.
        ("registration_opens_at", "after-close"),
    ];
    for events in [vec![created()], vec![created(), published()]] {
        let found = faults(when(&given(&events), Actor::User(ADA), change.clone()));
        assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
    }
}

#[test]
fn a_draft_whose_time_has_come_must_be_moved_too() {
    let event = given(&[created()]);
    let at_start = |change| when_at(starts_at(), &event, Some(Actor::User(ADA)), change);
    assert_eq!(faults(at_start(title("x"))), all(["starts_at"], "in-the-past"));
    let moved = ChangeEvent {
        starts_at: Some(starts_at() + HOUR),
        ..title("x")
    };
    assert!(at_start(moved).is_ok());
}
