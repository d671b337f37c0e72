//! Erasure with the real store: no table keeps personal data of the user.

use std::time::Duration;

use contracts::{
    Actor, ChangeUser, CreateUser, Date, EraseUser, Reply, Timestamp, UserCommand, UserEvent, UserProfileState,
    VerifyEmail,
};
use messaging::Outgoing;
use postgres::Postgres;
use testing::{Bench, PostgresDatabase};
use user::store::UserStore;
use user::{MIGRATIONS, subscriptions};
use uuid::Uuid;

const PERSON: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const GATEWAY: Actor = Actor::service("gateway");

/// Part of all personal data, and of nothing else.
const CANARY: &str = "quetzal";
const BORN: &str = "1987-03-29";

struct App {
    bench: Bench<Postgres>,
    database: PostgresDatabase,
}

impl App {
    async fn start() -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        let ledger = database.ledger();
        Self {
            bench: Bench::new("user", ledger.clone(), ledger, subscriptions(UserStore::new([]))),
            database,
        }
    }

    async fn request(&self, key: Uuid, body: impl Into<UserCommand>) -> Result<i64, String> {
        let command = Outgoing::<UserCommand>::new(key, body).actor(GATEWAY);
        match self.bench.request(command).await {
            Reply::CommandAccepted(accepted) => Ok(accepted.version),
            Reply::CommandRejected(rejected) => Err(rejected.code),
            Reply::CommandFailed(failed) => Err(failed.code),
        }
    }

    /// Returns the tables that contain the canary or the birth date, as text or within bytes.
    async fn tables_with_personal_data(&self) -> Vec<String> {
        let pool = self.database.pool();
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
}

fn sign_up() -> CreateUser {
    CreateUser {
        email: format!("{CANARY}@example.com"),
        username: CANARY.into(),
        full_name: format!("{CANARY} of the wood"),
        date_of_birth: Date::parse(BORN).expect("a valid date"),
        time_zone: "America/Guatemala".into(),
    }
}

fn next_address() -> ChangeUser {
    ChangeUser {
        email: Some(format!("{CANARY}.next@example.com")),
        ..ChangeUser::default()
    }
}

#[tokio::test]
async fn erasure_deletes_personal_data_from_every_table() {
    let app = App::start().await;
    app.request(PERSON, sign_up()).await.expect("accepted");
    app.request(PERSON, next_address()).await.expect("accepted");
    let verify = VerifyEmail {
        email: format!("{CANARY}.next@example.com"),
    };
    app.request(PERSON, verify).await.expect("accepted");
    app.request(OTHER, sign_up()).await.expect_err("the username is taken");
    assert_eq!(app.tables_with_personal_data().await, ["names", "profiles"]);

    assert_eq!(app.request(PERSON, EraseUser {}).await, Ok(5));
    app.bench.deliver_again().await;

    assert_eq!(app.tables_with_personal_data().await, Vec::<String>::new());
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
    app.request(PERSON, sign_up()).await.expect("accepted");
    let expired = |key| {
        let long_ago = Timestamp::now() - Duration::from_secs(365 * 24 * 60 * 60);
        Outgoing::<UserCommand>::new(key, next_address())
            .actor(GATEWAY)
            .time(long_ago)
    };
    for _ in 0..2 {
        app.bench.deliver(expired(PERSON)).await;
        assert_eq!(app.bench.dead_letters().await.len(), 1);
        assert!(
            app.tables_with_personal_data()
                .await
                .contains(&"dead_letters".to_owned())
        );
        // The second erasure is for the command that was dead-lettered after the first.
        app.request(PERSON, EraseUser {}).await.expect("accepted");
        assert_eq!(app.tables_with_personal_data().await, Vec::<String>::new());
    }
    app.bench.deliver(expired(OTHER)).await;
    app.request(PERSON, EraseUser {}).await.expect("accepted");
    assert_eq!(
        app.bench.dead_letters().await.len(),
        1,
        "dead letters of other users are kept"
    );
}

#[tokio::test]
async fn the_tombstone_has_the_sequence_of_the_erasure() {
    let app = App::start().await;
    app.request(PERSON, sign_up()).await.expect("accepted");
    let erase = Outgoing::<UserCommand>::new(PERSON, EraseUser {}).actor(Actor::User(PERSON));
    let Reply::CommandAccepted(accepted) = app.bench.request(erase).await else {
        panic!("a user may request the erasure")
    };
    let effects: Vec<_> = accepted
        .effects
        .iter()
        .map(|effect| (&*effect.topic, effect.key, effect.sequence))
        .collect();
    assert!(effects.contains(&("users.profiles", PERSON, 3)), "{effects:?}");
    assert!(effects.contains(&("users", PERSON, 3)), "{effects:?}");

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
    app.request(PERSON, sign_up()).await.expect("accepted");
    assert_eq!(app.request(PERSON, EraseUser {}).await, Ok(3));
    app.bench.restart();
    assert_eq!(app.request(PERSON, EraseUser {}).await, Ok(3));
    assert_eq!(app.bench.published::<UserEvent>().await.len(), 3);
    assert_eq!(app.bench.published::<UserProfileState>().await.len(), 2);
    assert_eq!(app.request(PERSON, next_address()).await, Err("user-unknown".into()));
}

#[tokio::test]
async fn the_names_of_an_erased_user_become_free() {
    let app = App::start().await;
    let commands = [
        Outgoing::<UserCommand>::new(PERSON, sign_up()).actor(GATEWAY),
        Outgoing::new(PERSON, EraseUser {}).actor(GATEWAY),
        Outgoing::new(OTHER, sign_up()).actor(GATEWAY),
    ];
    let last = commands[2].id;
    app.bench.deliver_all(commands).await;
    app.bench.deliver_again().await;
    let reply = app.bench.reply(last).await;
    assert!(matches!(reply, Reply::CommandAccepted(_)), "{reply:?}");
    let held: Vec<(String, Uuid)> = sqlx::query_as("SELECT kind, user_id FROM names ORDER BY kind")
        .fetch_all(app.database.pool())
        .await
        .expect("names can be read");
    assert_eq!(held, [("email".to_owned(), OTHER), ("username".to_owned(), OTHER)]);
}
