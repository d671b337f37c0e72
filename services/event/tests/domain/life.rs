//! The life of an event: drafted, published, then cancelled or ended.

use event::domain::{SELF, Status};

use super::*;

#[test]
fn the_user_who_drafts_an_event_organizes_it() {
    let result = when(&given(&[]), Actor::User(ADA), draft());
    assert_eq!(result, Ok(vec![created()]));
    assert_eq!(given(&[created()]).status, Status::Draft);
}

#[test]
fn an_admin_who_drafts_an_event_organizes_it() {
    let result = when(&given(&[]), Actor::Admin(ADA), draft());
    assert_eq!(result, Ok(vec![created()]));
}

#[test]
fn a_service_cannot_organize_an_event() {
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
fn all_invalid_fields_are_reported_together() {
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
        registration_opens_at: Some(now() + HOUR),
    };
    let expected = [
        ("title", "required"),
        ("description", "malformed"),
        ("venue", "malformed"),
        ("starts_at", "in-the-past"),
        ("ends_at", "before-start"),
        ("time_zone", "malformed"),
        ("capacity", "out-of-range"),
        ("registration_opens_at", "after-close"),
        ("registration_closes_at", "after-start"),
    ];
    let found = invalid_fields(when(&given(&[]), Actor::User(ADA), create));
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[test]
fn lengths_are_counted_in_characters() {
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
    let found = invalid_fields(when(&given(&[]), Actor::User(ADA), too_long));
    let expected = ["title", "description", "venue"].map(|field| (field.to_owned(), "too-long".to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn values_at_the_bounds_are_accepted() {
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
        let found = invalid_fields(when(&given(&[]), Actor::User(ADA), CreateEvent { capacity, ..draft() }));
        assert_eq!(found, [("capacity".into(), "out-of-range".into())]);
    }
}

#[test]
fn a_draft_is_published() {
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        assert_eq!(
            when(&given(&[created()]), actor, PublishEvent {}),
            Ok(vec![published()])
        );
    }
}

#[test]
fn publishing_twice_changes_nothing() {
    let event = given(&[created(), published()]);
    assert_eq!(when(&event, Actor::User(ADA), PublishEvent {}), Ok(vec![]));
    assert_eq!(
        when_at(ends_at(), &event, Some(Actor::User(ADA)), PublishEvent {}),
        Ok(vec![])
    );
}

#[test]
fn publication_takes_the_current_details_of_the_draft() {
    let details = Details {
        capacity: 50,
        staff: vec![BOB],
        ..details()
    };
    let event = given(&[created(), changed(details.clone(), false)]);
    assert_eq!(
        when(&event, Actor::User(ADA), PublishEvent {}),
        Ok(vec![EventPublished { details }.into()])
    );
}

#[test]
fn a_draft_cannot_be_published_after_its_start() {
    let event = given(&[created()]);
    let result = when_at(starts_at(), &event, Some(Actor::User(ADA)), PublishEvent {});
    assert_eq!(result, Err(Rejection::Started(vec![])));
}

#[test]
fn a_cancelled_or_ended_event_cannot_be_published() {
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
fn cancelling_twice_changes_nothing() {
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), cancel()), Ok(vec![]));
}

#[test]
fn an_ended_event_cannot_be_cancelled() {
    let over = given(&[created(), published(), ended()]);
    assert_eq!(when(&over, Actor::User(ADA), cancel()), Err(Rejection::Ended));
    let not_ended_yet = given(&[created(), published()]);
    let result = when_at(ends_at(), &not_ended_yet, Some(Actor::User(ADA)), cancel());
    assert_eq!(result, Err(Rejection::Ended));
}

#[test]
fn an_invalid_reason_to_cancel_is_rejected() {
    for (reason, code) in [("a\0b", "malformed"), (&*"a".repeat(501), "too-long")] {
        let result = when(
            &given(&[created()]),
            Actor::User(ADA),
            CancelEvent { reason: reason.into() },
        );
        assert_eq!(invalid_fields(result), [("reason".into(), code.into())]);
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
fn a_published_event_ends_at_its_end() {
    let event = given(&[created(), published()]);
    assert_eq!(when_at(ends_at(), &event, Some(SELF), EndEvent {}), Ok(vec![ended()]));
    assert_eq!(when_at(ends_at() - HOUR, &event, Some(SELF), EndEvent {}), Ok(vec![]));
}

#[test]
fn a_rescheduled_event_ends_at_its_new_end() {
    let later = given(&[created(), published(), rescheduled_by(HOUR)]);
    assert_eq!(when_at(ends_at(), &later, Some(SELF), EndEvent {}), Ok(vec![]));
    let new_end = ends_at() + HOUR;
    let at_new_end = EventEnded { ended_at: new_end };
    assert_eq!(
        when_at(new_end, &later, Some(SELF), EndEvent {}),
        Ok(vec![at_new_end.into()])
    );

    let sooner = Details {
        ends_at: ends_at() - HOUR,
        ..details()
    };
    let ended = EventEvent::from(EventEnded {
        ended_at: sooner.ends_at,
    });
    let earlier = [created(), published(), rescheduled(sooner)];
    let end = when_at(ends_at() - HOUR, &given(&earlier), Some(SELF), EndEvent {});
    assert_eq!(end, Ok(vec![ended.clone()]));
    let over = given(&[&earlier[..], &[ended]].concat());
    assert_eq!(when_at(ends_at(), &over, Some(SELF), EndEvent {}), Ok(vec![]));
}

#[test]
fn only_a_published_event_ends() {
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
