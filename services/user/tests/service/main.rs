//! The service with its real store and pipeline.

mod batches;
mod changes;
mod erasure;
mod sign_up;

use contracts::{
    Actor, ChangeUser, CreateUser, Date, DeactivateUser, Reply, UserCommand, UserEvent, UserProfileState, VerifyEmail,
};
use messaging::Outgoing;
use postgres::Postgres;
use testing::{Bench, PostgresDatabase};
use user::store::UserStore;
use user::{MIGRATIONS, subscriptions};
use uuid::Uuid;

const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);
const CARL: Uuid = Uuid::from_u128(3);

struct App {
    bench: Bench<Postgres>,
    database: PostgresDatabase,
}

/// The result of a command: the version, or the code of the rejection.
type Outcome = Result<i64, String>;

impl App {
    async fn start() -> Self {
        Self::allowing([]).await
    }

    /// Starts a service that allows only e-mail addresses of these domains, or all if there are none.
    async fn allowing(domains: impl IntoIterator<Item = &str>) -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        Self {
            bench: bench(database.ledger(), &database, domains),
            database,
        }
    }

    /// Starts with the accounts of Ada and Bob.
    async fn with_accounts() -> Self {
        let app = Self::start().await;
        app.request_all([by_service(ADA, sign_up("ada")), by_service(BOB, sign_up("bob"))])
            .await;
        app.bench.published::<UserEvent>().await;
        app.bench.published::<UserProfileState>().await;
        app
    }

    /// Starts a service with two workers, for even and for odd keys, which run transactions at the same time.
    async fn with_two_workers() -> Self {
        let database = testing::postgres(&MIGRATIONS).await;
        Self {
            bench: bench(database.inside(), &database, []).partitions(2),
            database,
        }
    }

    async fn request(&self, command: Outgoing<UserCommand>) -> Outcome {
        self.request_all([command]).await.remove(0)
    }

    /// Delivers all commands in one batch, and then the batch again, as Kafka may.
    async fn request_all(&self, commands: impl IntoIterator<Item = Outgoing<UserCommand>>) -> Vec<Outcome> {
        let commands: Vec<_> = commands.into_iter().collect();
        let ids: Vec<_> = commands.iter().map(|command| command.id).collect();
        self.bench.deliver_all(commands).await;
        self.bench.deliver_again().await;
        self.outcomes(ids).await
    }

    async fn outcomes(&self, commands: impl IntoIterator<Item = Uuid>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for id in commands {
            outcomes.push(match self.bench.reply(id).await {
                Reply::CommandAccepted(accepted) => Ok(accepted.version),
                Reply::CommandRejected(rejected) => Err(rejected.code),
                Reply::CommandFailed(failed) => panic!("{failed:?}"),
            });
        }
        outcomes
    }

    /// Returns the taken names: kind, name and holder.
    async fn names(&self) -> Vec<(String, String, Uuid)> {
        sqlx::query_as("SELECT kind, name, user_id FROM names ORDER BY kind, name")
            .fetch_all(self.database.pool())
            .await
            .expect("names can be read")
    }

    /// Returns the taken e-mail addresses with their holders.
    async fn emails(&self) -> Vec<(String, Uuid)> {
        let names = self.names().await.into_iter();
        names
            .filter(|(kind, ..)| kind == "email")
            .map(|(_, name, holder)| (name, holder))
            .collect()
    }
}

fn bench<'a>(
    ledger: Postgres,
    database: &PostgresDatabase,
    domains: impl IntoIterator<Item = &'a str>,
) -> Bench<Postgres> {
    let store = UserStore::new(domains.into_iter().map(str::to_owned));
    Bench::new("user", ledger, database.inside(), subscriptions(store))
}

fn sign_up(username: &str) -> CreateUser {
    CreateUser {
        email: format!("{username}@example.com"),
        username: username.into(),
        full_name: "Ada Lovelace".into(),
        date_of_birth: Date::parse("1990-12-10").expect("a valid date"),
        time_zone: "Europe/London".into(),
    }
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

fn deactivate() -> DeactivateUser {
    DeactivateUser {
        reason: "on request".into(),
    }
}

fn by_service(key: Uuid, body: impl Into<UserCommand>) -> Outgoing<UserCommand> {
    Outgoing::new(key, body).actor(Actor::service("gateway"))
}

fn by_user(key: Uuid, body: impl Into<UserCommand>) -> Outgoing<UserCommand> {
    Outgoing::new(key, body).actor(Actor::User(key))
}

fn taken(name: &str) -> Outcome {
    Err(format!("{name}-taken"))
}

fn held(name: &str, by: Uuid) -> (String, Uuid) {
    (name.to_owned(), by)
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for setting in chassis::settings::describe(user::config::Config::from_settings) {
        assert!(readme.contains(&format!("`{}`", setting.name)), "{}", setting.name);
    }
}
