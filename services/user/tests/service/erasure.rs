//! Erasure: no table keeps personal data of the user.

use std::time::Duration;

use contracts::{CreateUser, Date, EraseUser, Reply, Timestamp, UserEvent, UserProfileState};

use crate::{ADA, App, BOB, by_service, by_user, email, verify};

/// Part of all personal data, and of nothing else.
const CANARY: &str = "quetzal";
const BORN: &str = "1987-03-29";

/// Returns the tables that contain the canary or the birth date, as text or within bytes.
async fn tables_with_personal_data(app: &App) -> Vec<String> {
    let pool = app.database.pool();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("the catalogue can be read");
    assert!(tables.len() > 10, "{tables:?}");
    let bytes = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut found = Vec::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(&format!("SELECT t::text FROM \"{table}\" t"))
            .fetch_all(pool)
            .await
            .expect("every table can be read");
        let is_personal = |row: &String| row.contains(CANARY) || row.contains(&bytes) || row.contains(BORN);
        if rows.iter().any(is_personal) {
            found.push(table);
        }
    }
    found
}

fn personal_sign_up() -> CreateUser {
    CreateUser {
        email: format!("{CANARY}@example.com"),
        username: CANARY.into(),
        full_name: format!("{CANARY} of the wood"),
        date_of_birth: Date::parse(BORN).expect("a valid date"),
        time_zone: "America/Guatemala".into(),
    }
}

/// Returns the address to which the user changes.
fn next_address() -> String {
    format!("{CANARY}.next@example.com")
}

#[tokio::test]
async fn erasure_deletes_personal_data_from_every_table() {
    let app = App::start().await;
    app.request(by_service(ADA, personal_sign_up()))
        .await
        .expect("accepted");
    app.request(by_service(ADA, email(&next_address())))
        .await
        .expect("accepted");
    app.request(by_service(ADA, verify(&next_address())))
        .await
        .expect("accepted");
    app.request(by_service(BOB, personal_sign_up()))
        .await
        .expect_err("the username is taken");
    assert_eq!(tables_with_personal_data(&app).await, ["names", "profiles"]);

    assert_eq!(app.request(by_service(ADA, EraseUser {})).await, Ok(5));

    assert_eq!(tables_with_personal_data(&app).await, Vec::<String>::new());
    let events = app.bench.published::<UserEvent>().await;
    assert!(
        matches!(
            events[..],
            [
                UserEvent::UserCreated(_),
                UserEvent::UserChanged(_),
                UserEvent::EmailVerified(_),
                UserEvent::UserDeactivated(_),
                UserEvent::UserErased(_),
            ]
        ),
        "{events:?}"
    );
}

#[tokio::test]
async fn erasure_deletes_the_dead_letters_of_the_user() {
    let app = App::start().await;
    app.request(by_service(ADA, personal_sign_up()))
        .await
        .expect("accepted");
    let expired = |key| {
        let long_ago = Timestamp::now() - Duration::from_secs(365 * 24 * 60 * 60);
        by_service(key, email(&next_address())).time(long_ago)
    };
    for _ in 0..2 {
        app.bench.deliver(expired(ADA)).await;
        assert_eq!(app.bench.dead_letters().await.len(), 1);
        assert!(
            tables_with_personal_data(&app)
                .await
                .contains(&"dead_letters".to_owned())
        );
        // The second erasure is for the command that was dead-lettered after the first.
        app.request(by_service(ADA, EraseUser {})).await.expect("accepted");
        assert_eq!(tables_with_personal_data(&app).await, Vec::<String>::new());
    }
    app.bench.deliver(expired(BOB)).await;
    app.request(by_service(ADA, EraseUser {})).await.expect("accepted");
    assert_eq!(
        app.bench.dead_letters().await.len(),
        1,
        "dead letters of other users are kept"
    );
}

#[tokio::test]
async fn the_tombstone_has_the_sequence_of_the_erasure() {
    let app = App::start().await;
    app.request(by_service(ADA, personal_sign_up()))
        .await
        .expect("accepted");
    let erase = by_user(ADA, EraseUser {});
    let Reply::CommandAccepted(accepted) = app.bench.request(erase).await else {
        panic!("a user may request the erasure")
    };
    let effects: Vec<_> = accepted
        .effects
        .iter()
        .map(|effect| (&*effect.topic, effect.key, effect.sequence))
        .collect();
    assert!(effects.contains(&("users.profiles", ADA, 3)), "{effects:?}");
    assert!(effects.contains(&("users", ADA, 3)), "{effects:?}");

    let states = app.bench.published_with_envelopes::<UserProfileState>().await;
    let states: Vec<_> = states
        .iter()
        .map(|state| (state.envelope.sequence, &state.body))
        .collect();
    assert!(
        matches!(
            states[..],
            [
                (Some(1), UserProfileState::UserProfile(_)),
                (Some(3), UserProfileState::Tombstone)
            ]
        ),
        "{states:?}"
    );
}

#[tokio::test]
async fn erasing_twice_has_the_effect_of_erasing_once() {
    let app = App::start().await;
    app.request(by_service(ADA, personal_sign_up()))
        .await
        .expect("accepted");
    assert_eq!(app.request(by_service(ADA, EraseUser {})).await, Ok(3));
    app.bench.restart();
    assert_eq!(app.request(by_service(ADA, EraseUser {})).await, Ok(3));
    assert_eq!(app.bench.published::<UserEvent>().await.len(), 3);
    assert_eq!(app.bench.published::<UserProfileState>().await.len(), 2);
    assert_eq!(
        app.request(by_service(ADA, email(&next_address()))).await,
        Err("user-unknown".into())
    );
}

#[tokio::test]
async fn the_names_of_an_erased_user_become_free() {
    let app = App::start().await;
    let outcomes = app
        .request_all([
            by_service(ADA, personal_sign_up()),
            by_service(ADA, EraseUser {}),
            by_service(BOB, personal_sign_up()),
        ])
        .await;
    assert_eq!(outcomes, [Ok(1), Ok(3), Ok(1)]);
    let holders: Vec<_> = app.names().await.into_iter().map(|(kind, _, by)| (kind, by)).collect();
    assert_eq!(holders, [("email".to_owned(), BOB), ("username".to_owned(), BOB)]);
}
