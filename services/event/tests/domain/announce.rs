//! Announcements of the organizer to the attendees.

use contracts::{Announce, AnnouncementMade};

use super::*;

pub(super) fn thanks() -> Announce {
    Announce {
        announcement_id: Uuid::from_u128(8),
        subject: "Bring paper".into(),
        body: "And *pencils*.\n\n- two\n- or three".into(),
    }
}

fn made() -> EventEvent {
    let Announce {
        announcement_id,
        subject,
        body,
    } = thanks();
    AnnouncementMade {
        announcement_id,
        organizer_id: ADA,
        subject,
        body,
    }
    .into()
}

#[test]
fn an_announcement_names_the_organizer_for_every_actor() {
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        let event = given(&[created(), published()]);
        assert_eq!(when(&event, actor, thanks()), Ok(vec![made()]));
    }
}

#[test]
fn an_announcement_is_possible_after_the_end() {
    let over = given(&[created(), published(), ended()]);
    let result = when_at(ends_at(), &over, Some(Actor::User(ADA)), thanks());
    assert_eq!(result, Ok(vec![made()]));
}

#[test]
fn an_announcement_does_not_change_the_event() {
    let events = [created(), published()];
    assert_eq!(given(&[&events[..], &[made()]].concat()), given(&events));
}

#[test]
fn an_announcement_for_a_draft_or_a_cancelled_event_is_rejected() {
    assert_eq!(
        when(&given(&[created()]), Actor::User(ADA), thanks()),
        Err(Rejection::NotPublished)
    );
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), thanks()), Err(Rejection::Cancelled));
}

#[test]
fn an_invalid_announcement_is_rejected() {
    let event = given(&[created(), published()]);
    let announce = |subject: &str, body: &str| {
        let command = Announce {
            subject: subject.into(),
            body: body.into(),
            ..thanks()
        };
        when(&event, Actor::User(ADA), command)
    };
    assert!(announce(&"é".repeat(200), &"é".repeat(10_000)).is_ok());
    for (subject, body, code) in [
        (" ", "\n", "required"),
        (&*"é".repeat(201), &*"é".repeat(10_001), "too-long"),
        ("a\nb", "a\0b", "malformed"),
    ] {
        assert_eq!(invalid_fields(announce(subject, body)), all(["subject", "body"], code));
    }
}
