//! Changing, verifying and erasing profiles.

use contracts::{
    Actor, Aggregate, ChangeUser, EmailVerified, EraseUser, UserChanged, UserCommand, UserErased, UserEvent,
    UserProfile, VerifyEmail,
};
use user::domain::{Accounts, DuplicateCommand, Rejection, User, profile};

use crate::{ADA, BOB, command, created, date, deactivate, deactivated, invalid_fields, now, sign_up};

fn ada() -> UserProfile {
    profile::opened(&sign_up())
}

fn email(email: &str) -> ChangeUser {
    ChangeUser {
        email: Some(email.into()),
        ..ChangeUser::default()
    }
}

fn verify(email: &str) -> VerifyEmail {
    VerifyEmail { email: email.into() }
}

fn changed(fields: &[&str]) -> UserEvent {
    UserChanged {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        changed_at: now(),
    }
    .into()
}

fn verified() -> UserEvent {
    EmailVerified { verified_at: now() }.into()
}

fn erased() -> UserEvent {
    UserErased { erased_at: now() }.into()
}

/// Returns Ada's account after these domain events, and a context with her profile.
fn given(events: &[UserEvent], profile: UserProfile) -> (User, Accounts) {
    let (mut user, mut accounts) = (User::default(), Accounts::new(["example.com".to_owned()].into()));
    accounts.add_profile(ADA, profile);
    for event in events {
        user.evolve(&mut accounts, ADA, event);
    }
    (user, accounts)
}

fn active() -> (User, Accounts) {
    given(&[created()], ada())
}

fn when(
    (user, accounts): &(User, Accounts),
    actor: impl Into<Option<Actor>>,
    body: impl Into<UserCommand>,
) -> Result<Vec<UserEvent>, Rejection> {
    user.decide(accounts, &command(ADA, actor.into(), body))
}

const SHE: Actor = Actor::User(ADA);
const GATEWAY: Actor = Actor::service("gateway");

#[test]
fn a_change_names_the_fields_without_their_values() {
    let all = ChangeUser {
        email: Some("ada.king@example.com".into()),
        full_name: Some("Ada King".into()),
        date_of_birth: Some(date("1991-12-10")),
        time_zone: Some("Europe/Paris".into()),
        reminders: Some(false),
        announcements: Some(false),
    };
    let fields = [
        "email",
        "full_name",
        "date_of_birth",
        "time_zone",
        "reminders",
        "announcements",
    ];
    assert_eq!(when(&active(), SHE, all), Ok(vec![changed(&fields)]));
}

#[test]
fn a_change_without_a_difference_is_accepted() {
    let same = ChangeUser {
        email: Some("ada@example.com".into()),
        full_name: Some("Ada Lovelace".into()),
        date_of_birth: Some(date("1990-12-10")),
        time_zone: Some("Europe/London".into()),
        reminders: Some(true),
        announcements: Some(true),
    };
    assert_eq!(when(&active(), SHE, same.clone()), Ok(vec![]));
    assert_eq!(when(&active(), SHE, ChangeUser::default()), Ok(vec![]));
    let other_name = ChangeUser {
        full_name: Some("Ada King".into()),
        ..same
    };
    assert_eq!(when(&active(), SHE, other_name), Ok(vec![changed(&["full_name"])]));
}

#[test]
fn a_change_is_rejected_with_every_invalid_field() {
    let invalid = ChangeUser {
        email: Some("ada".into()),
        full_name: Some(" ".into()),
        date_of_birth: Some(date("2013-03-02")),
        time_zone: Some("Europe/".into()),
        ..ChangeUser::default()
    };
    let expected = [
        ("email", "malformed"),
        ("full_name", "required"),
        ("date_of_birth", "too-young"),
        ("time_zone", "malformed"),
    ];
    let expected = expected.map(|(field, code)| (field.to_owned(), code.to_owned()));
    assert_eq!(invalid_fields(when(&active(), SHE, invalid)), expected);

    let elsewhere = when(&active(), SHE, email("ada@example.org"));
    assert_eq!(
        invalid_fields(elsewhere),
        [("email".into(), "domain-not-allowed".into())]
    );
    let thirteen = ChangeUser {
        date_of_birth: Some(date("2013-03-01")),
        ..ChangeUser::default()
    };
    assert_eq!(when(&active(), SHE, thirteen), Ok(vec![changed(&["date_of_birth"])]));
}

#[test]
fn unchanged_fields_are_not_validated_again() {
    let before_the_list = UserProfile {
        email: "ada@example.org".into(),
        ..ada()
    };
    let account = given(&[created()], before_the_list);
    let change = ChangeUser {
        email: Some("ada@example.org".into()),
        reminders: Some(false),
        ..ChangeUser::default()
    };
    assert_eq!(when(&account, SHE, change), Ok(vec![changed(&["reminders"])]));
}

#[test]
fn an_email_of_another_user_cannot_be_taken() {
    let mut account = active();
    account.1.add_email_holder("Bob@example.com", BOB);
    let expected = Err(Rejection::Taken {
        email: true,
        username: false,
    });
    assert_eq!(when(&account, SHE, email("bob@EXAMPLE.com")), expected);

    account.1.add_email_holder("ada@example.com", ADA);
    assert_eq!(
        when(&account, SHE, email("ADA@example.com")),
        Ok(vec![changed(&["email"])]),
        "her own in another case"
    );
}

#[test]
fn a_new_email_is_not_verified_unless_it_differs_only_in_case() {
    let before = profile::verified(&ada());
    assert!(!profile::changed(&before, &email("ada.king@example.com")).email_verified);
    assert!(profile::changed(&before, &email("Ada@Example.com")).email_verified);
    assert!(profile::changed(&before, &ChangeUser::default()).email_verified);
}

#[test]
fn users_admins_and_services_can_change_a_profile() {
    for actor in [SHE, Actor::Admin(BOB), GATEWAY] {
        let result = when(&active(), actor, email("new@example.com"));
        assert_eq!(result, Ok(vec![changed(&["email"])]));
    }
}

#[test]
fn an_account_is_unknown_to_other_users() {
    let commands: [UserCommand; 4] = [
        email("new@example.com").into(),
        verify("ada@example.com").into(),
        deactivate().into(),
        EraseUser {}.into(),
    ];
    let histories: [&[UserEvent]; 4] = [
        &[],
        &[created()],
        &[created(), deactivated("on request")],
        &[created(), deactivated("erased"), erased()],
    ];
    for history in histories {
        for command in &commands {
            for actor in [Some(Actor::User(BOB)), None] {
                let result = when(&given(history, ada()), actor, command.clone());
                assert_eq!(result, Err(Rejection::Unknown), "{command:?} after {history:?}");
            }
        }
    }
}

#[test]
fn a_service_verifies_the_email() {
    let result = when(&active(), GATEWAY, verify("ADA@example.com"));
    assert_eq!(result, Ok(vec![verified()]));
}

#[test]
fn users_and_admins_cannot_verify_an_email() {
    for actor in [SHE, Actor::Admin(BOB)] {
        assert_eq!(
            when(&active(), actor, verify("ada@example.com")),
            Err(Rejection::Unknown)
        );
    }
}

#[test]
fn verifying_a_verified_email_changes_nothing() {
    let account = given(&[created(), verified()], ada());
    assert_eq!(when(&account, GATEWAY, verify("ada@example.com")), Ok(vec![]));
}

#[test]
fn a_link_to_the_former_email_is_rejected() {
    let account = given(&[created()], profile::changed(&ada(), &email("new@example.com")));
    assert_eq!(
        when(&account, GATEWAY, verify("ada@example.com")),
        Err(Rejection::EmailChanged)
    );
}

#[test]
fn a_closed_account_does_not_change() {
    let account = given(&[created(), deactivated("on request")], ada());
    assert_eq!(
        when(&account, SHE, email("new@example.com")),
        Err(Rejection::Deactivated)
    );
    assert_eq!(
        when(&account, GATEWAY, verify("ada@example.com")),
        Err(Rejection::Deactivated)
    );
}

#[test]
fn erasing_closes_the_account_first() {
    for actor in [SHE, Actor::Admin(BOB), GATEWAY] {
        let result = when(&active(), actor, EraseUser {});
        assert_eq!(result, Ok(vec![deactivated("erased"), erased()]));
    }
    let closed = given(&[created(), deactivated("on request")], ada());
    assert_eq!(when(&closed, SHE, EraseUser {}), Ok(vec![erased()]));
}

#[test]
fn an_unknown_user_cannot_be_erased() {
    assert_eq!(when(&given(&[], ada()), GATEWAY, EraseUser {}), Err(Rejection::Unknown));
}

#[test]
fn an_erased_user_cannot_change_or_sign_up_again() {
    let erased_account = given(&[created(), deactivated("erased"), erased()], ada());
    assert_eq!(when(&erased_account, SHE, EraseUser {}), Ok(vec![]));
    assert_eq!(when(&erased_account, SHE, deactivate()), Ok(vec![]));
    assert_eq!(
        when(&erased_account, SHE, email("new@example.com")),
        Err(Rejection::Unknown)
    );
    assert_eq!(
        when(&erased_account, GATEWAY, verify("ada@example.com")),
        Err(Rejection::Unknown)
    );
    assert_eq!(when(&erased_account, None, sign_up()), Err(Rejection::AlreadyExists));
}

#[test]
fn two_changes_of_one_key_are_refused_in_one_batch() {
    let mut accounts = Accounts::default();
    assert_eq!(accounts.register_command(ADA, &sign_up().into()), Ok(()));
    assert_eq!(accounts.register_command(ADA, &email("new@example.com").into()), Ok(()));
    // A malformed address is not kept, because the decision rejects it.
    assert_eq!(accounts.register_command(ADA, &email("new").into()), Ok(()));
    assert_eq!(accounts.register_command(BOB, &email("new@example.com").into()), Ok(()));
    assert_eq!(
        accounts.register_command(ADA, &ChangeUser::default().into()),
        Err(DuplicateCommand)
    );
}
