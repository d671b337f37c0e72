//! Naming the staff who may check in attendees.

use contracts::StaffNamed;

use super::*;

const EVE: Uuid = Uuid::from_u128(4);

fn name(staff: &[Uuid]) -> NameStaff {
    NameStaff { staff: staff.to_vec() }
}

fn named_staff(staff: &[Uuid], published: bool) -> EventEvent {
    let details = Details {
        staff: staff.to_vec(),
        ..details()
    };
    StaffNamed { details, published }.into()
}

#[test]
fn staff_is_named_before_and_after_publication() {
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        let draft = given(&[created()]);
        assert_eq!(
            when(&draft, actor.clone(), name(&[EVE, BOB])),
            Ok(vec![named_staff(&[BOB, EVE], false)])
        );
        let public = given(&[created(), published()]);
        assert_eq!(
            when_at(starts_at(), &public, Some(actor), name(&[BOB])),
            Ok(vec![named_staff(&[BOB], true)])
        );
    }
}

#[test]
fn naming_the_same_staff_in_any_order_changes_nothing() {
    let event = given(&[created(), named_staff(&[BOB, EVE], false)]);
    for same in [[BOB, EVE], [EVE, BOB]] {
        assert_eq!(when(&event, Actor::User(ADA), name(&same)), Ok(vec![]));
    }
    assert_eq!(
        when(&event, Actor::User(ADA), name(&[])),
        Ok(vec![named_staff(&[], false)])
    );
}

#[test]
fn staff_is_at_most_100_users_without_the_organizer() {
    let event = given(&[created()]);
    let crowd: Vec<Uuid> = (100..201).map(Uuid::from_u128).collect();
    assert!(when(&event, Actor::User(ADA), name(&crowd[1..])).is_ok());
    for (staff, code) in [
        (&crowd[..], "too-many"),
        (&[BOB, EVE, BOB][..], "duplicate"),
        (&[BOB, ADA][..], "organizer"),
    ] {
        assert_eq!(
            invalid_fields(when(&event, Actor::User(ADA), name(staff))),
            all(["staff"], code)
        );
    }
}

#[test]
fn staff_of_a_cancelled_or_ended_event_cannot_change() {
    let event = given(&[created(), published(), cancelled()]);
    assert_eq!(when(&event, Actor::User(ADA), name(&[BOB])), Err(Rejection::Cancelled));
    let event = given(&[created(), published()]);
    let result = when_at(ends_at(), &event, Some(Actor::User(ADA)), name(&[BOB]));
    assert_eq!(result, Err(Rejection::Ended));
}
