//! Signing up and closing an account.

use contracts::{CommandRejected, CreateUser, Effect, Reply, UserCommand, UserEvent, UserProfileState, topics};
use messaging::Outgoing;
use uuid::Uuid;

use crate::{ADA, App, BOB, CARL, by_user, deactivate, held, sign_up, taken};

fn create(key: Uuid, body: CreateUser) -> Outgoing<UserCommand> {
    Outgoing::new(key, body)
}

fn bob_with_the_email_of_ada() -> CreateUser {
    CreateUser {
        username: "bob".into(),
        ..sign_up("ada")
    }
}

#[tokio::test]
async fn a_sign_up_creates_an_account_and_a_profile() {
    let app = App::start().await;
    let reply = app.bench.request(create(ADA, sign_up("ada"))).await;
    app.bench.deliver_again().await;

    let Reply::CommandAccepted(accepted) = reply else {
        panic!("{reply:?}")
    };
    let effect = |topic: &str| Effect {
        topic: topic.into(),
        key: ADA,
        sequence: 1,
    };
    assert_eq!(accepted.version, 1);
    assert!(accepted.effects.contains(&effect(topics::USERS.name)), "{accepted:?}");
    assert!(
        accepted.effects.contains(&effect(topics::USERS_PROFILES.name)),
        "{accepted:?}"
    );

    let created = app.bench.published::<UserEvent>().await;
    assert!(matches!(created[..], [UserEvent::UserCreated(_)]), "{created:?}");
    let profiles = app.bench.published_with_envelopes::<UserProfileState>().await;
    assert_eq!(profiles.len(), 1);
    assert_eq!(
        (profiles[0].envelope.key, profiles[0].envelope.sequence),
        (ADA, Some(1))
    );
    let UserProfileState::UserProfile(profile) = &profiles[0].body else {
        panic!("{profiles:?}")
    };
    assert_eq!((&*profile.email, &*profile.username), ("ada@example.com", "ada"));
}

#[tokio::test]
async fn the_journal_contains_no_personal_data() {
    let app = App::start().await;
    app.request(create(ADA, sign_up("ada_canary"))).await.expect("accepted");
    app.request(by_user(ADA, deactivate())).await.expect("accepted");
    let journal: Vec<(Vec<u8>, String)> =
        sqlx::query_as("SELECT payload, type || coalesce(actor, '') FROM domain_events ORDER BY version")
            .fetch_all(app.database.pool())
            .await
            .expect("the journal can be read");
    assert_eq!(journal.len(), 2);
    for (payload, text) in journal {
        let payload = String::from_utf8_lossy(&payload).into_owned() + &text;
        for personal in ["canary", "example.com", "Lovelace"] {
            assert!(!payload.contains(personal), "{personal}");
        }
    }
}

#[tokio::test]
async fn a_sign_up_is_rejected_with_every_invalid_field() {
    let app = App::allowing(["Example.ORG"]).await;
    // A zero byte must be rejected before the store, because no text column can hold it.
    let invalid = CreateUser {
        full_name: "Ada\0".into(),
        ..sign_up("ada")
    };
    let reply = app.bench.request(create(ADA, invalid)).await;
    let Reply::CommandRejected(CommandRejected { code, errors, .. }) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(code, "invalid");
    let errors: Vec<_> = errors.iter().map(|error| (&*error.field, &*error.code)).collect();
    assert_eq!(errors, [("email", "domain-not-allowed"), ("full_name", "malformed")]);

    let zero = CreateUser {
        email: "ada\0@example.org".into(),
        username: "a\0da".into(),
        ..sign_up("ada")
    };
    assert_eq!(app.request(create(ADA, zero)).await, Err("invalid".into()));
    let allowed = CreateUser {
        email: "ada@EXAMPLE.org".into(),
        ..sign_up("ada")
    };
    assert_eq!(app.request(create(ADA, allowed)).await, Ok(1));
    assert_eq!(
        app.request(create(ADA, sign_up("ada"))).await,
        Err("already-exists".into())
    );
}

#[tokio::test]
async fn same_email_in_one_batch() {
    let app = App::start().await;
    let other_case = CreateUser {
        email: "ADA@Example.com".into(),
        ..sign_up("bob")
    };
    let outcomes = app
        .request_all([create(ADA, sign_up("ada")), create(BOB, other_case)])
        .await;
    assert_eq!(outcomes, [Ok(1), taken("email")]);
    assert_eq!(app.bench.published::<UserEvent>().await.len(), 1);
}

#[tokio::test]
async fn same_email_at_two_workers() {
    let app = App::with_two_workers().await;
    for round in 0..20 {
        let (even, odd) = (Uuid::from_u128(100 + 2 * round), Uuid::from_u128(101 + 2 * round));
        let same = |username: String| CreateUser {
            email: format!("ada{round}@example.com"),
            ..sign_up(&username)
        };
        let batch = [
            create(even, same(format!("even{round}"))),
            create(odd, same(format!("odd{round}"))),
        ];
        let mut outcomes = app.request_all(batch).await;
        outcomes.sort();
        assert_eq!(outcomes, [Ok(1), taken("email")]);
    }
}

#[tokio::test]
async fn two_workers_that_take_names_in_opposite_order_do_not_deadlock() {
    let app = App::with_two_workers().await;
    for round in 0..20 {
        let key = |n: u128| Uuid::from_u128(100 + 4 * round + n);
        let names = |email: &str, username: &str| CreateUser {
            email: format!("{email}{round}@example.com"),
            ..sign_up(&format!("{username}{round}"))
        };
        let batch = [
            create(key(0), names("a", "second")),
            create(key(2), names("b", "first")),
            create(key(1), names("c", "first")),
            create(key(3), names("d", "second")),
        ];
        let accepted = app
            .request_all(batch)
            .await
            .iter()
            .filter(|outcome| outcome.is_ok())
            .count();
        assert_eq!(accepted, 2, "each username goes to one user");
    }
}

#[tokio::test]
async fn a_closed_account_frees_its_email_but_not_its_username() {
    let app = App::start().await;
    app.request(create(ADA, sign_up("ada"))).await.expect("accepted");
    assert_eq!(
        app.request(create(BOB, bob_with_the_email_of_ada())).await,
        taken("email")
    );

    assert_eq!(app.request(by_user(ADA, deactivate())).await, Ok(2));

    assert_eq!(app.request(create(BOB, sign_up("ada"))).await, taken("username"));
    assert_eq!(app.request(create(BOB, bob_with_the_email_of_ada())).await, Ok(1));
    let held = |kind: &str, name: &str, by| (kind.to_owned(), name.to_owned(), by);
    let expected = [
        held("email", "ada@example.com", BOB),
        held("username", "ada", ADA),
        held("username", "bob", BOB),
    ];
    assert_eq!(app.names().await, expected);
}

#[tokio::test]
async fn an_email_changes_holders_within_one_batch() {
    let app = App::start().await;
    let same = |username: &str| CreateUser {
        email: "Same@example.com".into(),
        ..sign_up(username)
    };
    app.request(create(ADA, same("ada"))).await.expect("accepted");
    let batch = [
        by_user(ADA, deactivate()),
        create(BOB, same("bob")),
        by_user(BOB, deactivate()),
        create(CARL, same("carl")),
    ];
    assert_eq!(app.request_all(batch).await, [Ok(2), Ok(1), Ok(2), Ok(1)]);
    assert_eq!(app.emails().await, [held("same@example.com", CARL)]);
}

#[tokio::test]
async fn two_sign_ups_of_one_key_in_one_batch_are_executed_one_by_one() {
    let app = App::start().await;
    app.request(create(ADA, sign_up("ada"))).await.expect("accepted");
    let other_email = CreateUser {
        email: "bob@example.com".into(),
        ..sign_up("carl")
    };
    let batch = [
        create(BOB, bob_with_the_email_of_ada()),
        create(BOB, sign_up("bob")),
        create(BOB, sign_up("bob")),
        create(CARL, other_email),
        by_user(BOB, deactivate()),
    ];
    let outcomes = app.request_all(batch).await;
    assert_eq!(
        outcomes,
        [
            taken("email"),
            Ok(1),
            Err("already-exists".into()),
            taken("email"),
            Ok(2)
        ]
    );
}

#[tokio::test]
async fn a_stale_version_is_rejected() {
    let app = App::start().await;
    app.request(create(ADA, sign_up("ada"))).await.expect("accepted");
    assert_eq!(
        app.request(by_user(ADA, deactivate()).expected_version(Some(7))).await,
        Err("version-conflict".into())
    );
    assert_eq!(
        app.request(by_user(ADA, deactivate()).expected_version(Some(1))).await,
        Ok(2)
    );
}

#[tokio::test]
async fn a_new_process_continues_from_the_stored_state() {
    let app = App::start().await;
    app.request(create(ADA, sign_up("ada"))).await.expect("accepted");
    app.bench.restart();
    assert_eq!(
        app.request(create(ADA, sign_up("other"))).await,
        Err("already-exists".into())
    );
    assert_eq!(
        app.request(create(BOB, bob_with_the_email_of_ada())).await,
        taken("email")
    );
    assert_eq!(app.request(by_user(ADA, deactivate())).await, Ok(2));
}
