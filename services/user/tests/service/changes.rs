//! Changes of a profile.

use contracts::{ChangeUser, CreateUser, Date, Reply, UserEvent, UserProfileState, topics};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::{ADA, App, BOB, CARL, by_service, by_user, deactivate, email, held, sign_up, taken, verify};

#[tokio::test]
async fn a_change_publishes_the_whole_profile_and_the_reply_names_it() {
    let app = App::with_accounts().await;
    let change = ChangeUser {
        full_name: Some("Ada King".into()),
        date_of_birth: Some(Date::parse("1991-01-02").expect("a valid date")),
        time_zone: Some("Europe/Paris".into()),
        reminders: Some(false),
        announcements: Some(false),
        ..email("Ada.King@example.com")
    };
    let reply = app.bench.request(by_user(ADA, change)).await;
    app.bench.deliver_again().await;

    let Reply::CommandAccepted(accepted) = reply else {
        panic!("{reply:?}")
    };
    let profile = (topics::USERS_PROFILES.name, ADA, 2);
    let mut effects = accepted.effects.iter();
    assert!(
        effects.any(|effect| (&*effect.topic, effect.key, effect.sequence) == profile),
        "{accepted:?}"
    );
    let states = app.bench.published_with_envelopes::<UserProfileState>().await;
    let [state] = &states[..] else { panic!("{states:?}") };
    assert_eq!((state.envelope.key, state.envelope.sequence), (ADA, Some(2)));
    let UserProfileState::UserProfile(profile) = &state.body else {
        panic!("{state:?}")
    };
    assert_eq!(profile.email, "Ada.King@example.com");
    assert_eq!((&*profile.username, &*profile.full_name), ("ada", "Ada King"));
    assert_eq!(
        (&*profile.time_zone, profile.date_of_birth.to_string()),
        ("Europe/Paris", "1991-01-02".into())
    );
    assert!(!profile.reminders && !profile.announcements && !profile.email_verified);
    assert_eq!(
        app.emails().await,
        [held("ada.king@example.com", ADA), held("bob@example.com", BOB)]
    );
}

#[tokio::test]
async fn a_change_without_a_difference_publishes_nothing() {
    let app = App::with_accounts().await;
    assert_eq!(app.request(by_user(ADA, email("ada@example.com"))).await, Ok(1));
    assert!(app.bench.published::<UserEvent>().await.is_empty());
    assert!(app.bench.published::<UserProfileState>().await.is_empty());
}

#[tokio::test]
async fn a_verified_email_stays_verified_until_it_changes() {
    let app = App::with_accounts().await;
    assert_eq!(app.request(by_service(ADA, verify("ADA@example.com"))).await, Ok(2));
    assert_eq!(app.request(by_service(ADA, verify("ada@example.com"))).await, Ok(2));
    assert_eq!(app.request(by_user(ADA, email("new@example.com"))).await, Ok(3));
    let late = app.request(by_service(ADA, verify("ada@example.com"))).await;
    assert_eq!(late, Err("email-changed".into()));

    let states = app.bench.published::<UserProfileState>().await;
    let verified: Vec<_> = states
        .iter()
        .map(|state| matches!(state, UserProfileState::UserProfile(profile) if profile.email_verified))
        .collect();
    assert_eq!(verified, [true, false]);
}

#[tokio::test]
async fn emails_change_holders_within_one_batch() {
    let app = App::with_accounts().await;
    let batch = [
        by_user(BOB, email("ada@example.com")),
        by_user(ADA, email("new@example.com")),
        by_service(CARL, sign_up("ada")),
        by_service(CARL, verify("ada@example.com")),
    ];
    let outcomes = app.request_all(batch).await;
    assert_eq!(
        outcomes,
        [taken("email"), Ok(2), taken("username"), Err("user-unknown".into())]
    );

    let batch = [
        by_user(BOB, email("ada@example.com")),
        by_service(
            CARL,
            CreateUser {
                username: "carl".into(),
                ..sign_up("bob")
            },
        ),
        by_user(CARL, email("carl@example.com")),
        by_service(CARL, verify("carl@example.com")),
    ];
    assert_eq!(app.request_all(batch).await, [Ok(2), Ok(1), Ok(2), Ok(3)]);
    let expected = [
        held("ada@example.com", BOB),
        held("carl@example.com", CARL),
        held("new@example.com", ADA),
    ];
    assert_eq!(app.emails().await, expected);
}

#[tokio::test]
async fn several_changes_of_one_user_succeed_in_one_batch() {
    let app = App::with_accounts().await;
    let batch = [
        by_user(ADA, email("bob@example.com")),
        by_user(ADA, email("new@example.com")),
        by_user(BOB, email("ada@example.com")),
        by_user(ADA, email("newer@example.com")),
    ];
    let outcomes = app.request_all(batch).await;
    assert_eq!(outcomes, [taken("email"), Ok(2), Ok(2), Ok(3)]);
    assert_eq!(
        app.emails().await,
        [held("ada@example.com", BOB), held("newer@example.com", ADA)]
    );
}

#[tokio::test]
async fn only_one_of_two_workers_takes_the_same_new_email() {
    let app = App::with_two_workers().await;
    for round in 0..20 {
        let (even, odd) = (Uuid::from_u128(100 + 2 * round), Uuid::from_u128(101 + 2 * round));
        app.request_all([
            by_service(even, sign_up(&format!("even{round}"))),
            by_service(odd, sign_up(&format!("odd{round}"))),
        ])
        .await;
        let wanted = format!("wanted{round}@example.com");
        let mut outcomes = app
            .request_all([by_user(even, email(&wanted)), by_user(odd, email(&wanted))])
            .await;
        outcomes.sort();
        assert_eq!(outcomes, [Ok(2), taken("email")]);
    }
}

#[tokio::test]
async fn a_stale_change_is_rejected() {
    let app = App::with_accounts().await;
    app.request(by_user(ADA, email("new@example.com")))
        .await
        .expect("accepted");
    let stale = by_user(ADA, email("newer@example.com")).expected_version(Some(1));
    assert_eq!(app.request(stale).await, Err("version-conflict".into()));
    let fresh = by_user(ADA, email("newer@example.com")).expected_version(Some(2));
    assert_eq!(app.request(fresh).await, Ok(3));
}

#[tokio::test]
async fn a_closed_account_keeps_its_profile_but_not_its_email() {
    let app = App::with_accounts().await;
    app.request(by_user(ADA, deactivate())).await.expect("accepted");
    assert_eq!(
        app.request(by_user(ADA, email("new@example.com"))).await,
        Err("user-deactivated".into())
    );
    assert_eq!(app.emails().await, [held("bob@example.com", BOB)]);
    let profiles: i64 = sqlx::query_scalar("SELECT count(*) FROM profiles")
        .fetch_one(app.database.pool())
        .await
        .expect("profiles can be read");
    assert_eq!(profiles, 2);
}

/// Executes a statement on every table from another process, as the service's `migrate` does. The service has one
/// connection, so its next command runs with the statements that an earlier command has prepared.
async fn migrate_every_table(app: &App, statement: impl Fn(&str) -> String) {
    let mut other = PgConnection::connect(&app.database.url())
        .await
        .expect("a connection besides the service's");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
    )
    .fetch_all(&mut other)
    .await
    .expect("the catalogue can be read");
    assert!(tables.contains(&"profiles".to_owned()) && tables.contains(&"dead_letters".to_owned()));
    for table in tables {
        other
            .execute(statement(&table).as_str())
            .await
            .expect("the table can be changed");
    }
}

#[tokio::test]
async fn changes_succeed_while_a_migration_adds_a_column_to_every_table() {
    let app = App::with_accounts().await;
    assert_eq!(app.request(by_user(ADA, email("one@example.com"))).await, Ok(2));

    migrate_every_table(&app, |table| {
        format!("ALTER TABLE {table} ADD COLUMN added_later integer")
    })
    .await;

    assert_eq!(app.request(by_user(ADA, email("two@example.com"))).await, Ok(3));
    assert_eq!(app.bench.dead_letters().await, []);
}

/// The server rejects all statements that were prepared before, whatever columns they name.
#[tokio::test]
async fn changes_succeed_while_a_migration_changes_the_type_of_a_column() {
    let app = App::with_accounts().await;
    assert_eq!(app.request(by_user(ADA, email("one@example.com"))).await, Ok(2));

    migrate_every_table(&app, |table| match table {
        "profiles" => "ALTER TABLE profiles ALTER COLUMN full_name TYPE varchar(1000)".to_owned(),
        _ => format!("ANALYZE {table}"),
    })
    .await;

    assert_eq!(app.request(by_user(ADA, email("two@example.com"))).await, Ok(3));
    assert_eq!(app.request(by_user(ADA, email("three@example.com"))).await, Ok(4));
    assert_eq!(app.bench.dead_letters().await, []);
}
