//! Fields that can be changed, and until when.

use super::*;

fn title(title: &str) -> ChangeEvent {
    ChangeEvent {
        title: Some(title.into()),
        ..ChangeEvent::default()
    }
}

/// A change of every field, and the details after it.
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
fn every_field_of_a_draft_can_change() {
    let (change, details) = everything();
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        assert_eq!(
            when(&given(&[created()]), actor, change.clone()),
            Ok(vec![changed(details.clone(), false)])
        );
    }
}

#[test]
fn unset_fields_stay_the_same() {
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
fn all_fields_but_start_and_end_can_change_after_publication() {
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
fn a_change_of_start_or_end_after_publication_requires_rescheduling() {
    let (change, _) = everything();
    match when(&given(&[created(), published()]), Actor::User(ADA), change) {
        Err(Rejection::UseReschedule(errors)) => {
            assert_eq!(named(errors), all(["starts_at", "ends_at"], "use-reschedule"));
        }
        other => panic!("expected UseReschedule, got {other:?}"),
    }
}

#[test]
fn setting_the_same_start_and_end_after_publication_is_accepted() {
    let (change, _) = everything();
    let change = ChangeEvent {
        starts_at: Some(starts_at()),
        ends_at: Some(ends_at()),
        ..change
    };
    assert!(when(&given(&[created(), published()]), Actor::User(ADA), change).is_ok());
}

#[test]
fn only_title_description_and_venue_can_change_after_the_start() {
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
        other => panic!("expected a rejection, got {other:?}"),
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
fn a_cancelled_or_ended_event_does_not_change() {
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), title("x")), Err(Rejection::Cancelled));
    let event = given(&[created(), published(), ended()]);
    assert_eq!(when(&event, Actor::User(ADA), title("x")), Err(Rejection::Ended));
    let not_ended_yet = given(&[created(), published()]);
    let result = when_at(ends_at(), &not_ended_yet, Some(Actor::User(ADA)), title("x"));
    assert_eq!(result, Err(Rejection::Ended));
}

#[test]
fn a_change_without_a_difference_is_accepted() {
    for events in [vec![created()], vec![created(), published()]] {
        let event = given(&events);
        assert_eq!(when(&event, Actor::User(ADA), ChangeEvent::default()), Ok(vec![]));
        let same = title("On computable numbers");
        assert_eq!(when(&event, Actor::User(ADA), same), Ok(vec![]));
    }
}

#[test]
fn the_changed_event_must_be_valid_as_a_whole() {
    let change = ChangeEvent {
        title: Some(" ".into()),
        registration_closes_at: Some(now() + HOUR),
        capacity: Some(0),
        ..ChangeEvent::default()
    };
    let expected = [
        ("title", "required"),
        ("capacity", "out-of-range"),
        // This field is unchanged, but no longer valid.
        ("registration_opens_at", "after-close"),
    ];
    for events in [vec![created()], vec![created(), published()]] {
        let found = invalid_fields(when(&given(&events), Actor::User(ADA), change.clone()));
        assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
    }
}

#[test]
fn a_change_of_a_draft_after_its_start_must_also_move_the_start() {
    let event = given(&[created()]);
    let at_start = |change| when_at(starts_at(), &event, Some(Actor::User(ADA)), change);
    assert_eq!(invalid_fields(at_start(title("x"))), all(["starts_at"], "in-the-past"));
    let moved = ChangeEvent {
        starts_at: Some(starts_at() + HOUR),
        ..title("x")
    };
    assert!(at_start(moved).is_ok());
}
