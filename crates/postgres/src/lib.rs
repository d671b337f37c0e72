#![doc = include_str!("../README.md")]

mod aggregates;
mod delivery_log;
mod error;
mod event_store;
mod history;
mod journal;
mod maintenance;
mod ops_queries;
mod outbox;
mod rows;
mod settings;
mod transactions;

use std::time::Duration;

use chassis::metrics::{PoolConnections, register_pool};
use messaging::ledger::{StoreError, StoreErrorKind};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

pub use aggregates::{Aggregates, Decided, Store};
pub use error::store_error;
pub use event_store::{Journaled, SNAPSHOT_EVERY};
pub use journal::Journal;
pub use settings::Settings;

/// A transaction on a service's database.
pub type Tx = sqlx::Transaction<'static, sqlx::Postgres>;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A service's own database.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
}

/// Why the database is not as the service needs it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DATABASE_URL is no Postgres address")]
    Url(#[source] sqlx::Error),
    #[error("the database does not answer")]
    Unreachable(#[source] sqlx::Error),
    #[error("the database was not migrated")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("the database lacks migrations; run the service's `migrate` first")]
    NotMigrated,
}

/// What the server ends by itself, so that nothing waits for ever, and a client that is gone holds no row: one that
/// crashed with its host, or that the network cut off. The README says how they go together.
const SERVER_SIDE: [(&str, &str); 7] = [
    ("statement_timeout", "20s"),
    ("lock_timeout", "10s"),
    // An operation may do long work beside its own transaction.
    ("idle_in_transaction_session_timeout", "15min"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15s"),
];
/// How long a call outside of a transaction waits: longer than a statement may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection that is given back has to answer. One without an answer would keep its place in the pool for
/// as long as TCP believes in it, a quarter of an hour.
const RELEASE: Duration = Duration::from_secs(5);

impl Postgres {
    /// Connects with at most `connections`; answers when one is there.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(Error::Url)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            // A connection is looked at when a statement fails, not before each one.
            .test_before_acquire(false)
            // A migration that runs beside this process may make prepared statements unusable, and the driver keeps
            // them for as long as their connection.
            .before_acquire(|_, connection| Box::pin(std::future::ready(Ok(error::is_current(connection.age)))))
            .after_release(|connection, _| Box::pin(answers(connection)))
            .connect_with(options.options(SERVER_SIDE))
            .await
            .map_err(Error::Unreachable)?;
        Ok(Self { pool })
    }

    /// Shows the pool in the process's metrics.
    pub fn register_metrics(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        let pool = self.pool.clone();
        register_pool(registry, move || {
            let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
            let used = (i64::from(pool.size()) - idle).max(0);
            PoolConnections { used, idle }
        })
    }

    /// Over a pool that is there already.
    pub fn over(pool: PgPool) -> Self {
        Self { pool }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Applies the ledger's migrations and then the service's own. Their versions must not meet: the
    /// service's are dates (`20260101_…`).
    pub async fn migrate(&self, own: &Migrator) -> Result<(), Error> {
        // A migration takes its time.
        let unhurried = [("statement_timeout", "0"), ("lock_timeout", "0")];
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options(unhurried);
        let one = PgPoolOptions::new().max_connections(1);
        let pool = one.connect_with(options).await.map_err(Error::Unreachable)?;
        for migrator in [&MIGRATIONS, own] {
            let migrator = Migrator {
                migrations: migrator.migrations.clone(),
                // The other one's migrations are in the same table.
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.run(&pool).await.map_err(Error::Migration)?;
        }
        pool.close().await;
        Ok(())
    }

    /// The ledger's own migrations, for those who need to know them all.
    #[cfg(feature = "testing")]
    pub fn ledger_migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    /// Whether every migration was applied: a service does not migrate while it runs.
    pub async fn check_migrations(&self, own: &Migrator) -> Result<(), Error> {
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(&self.pool)
            .await
            .map_err(|_| Error::NotMigrated)?;
        let mut needed = MIGRATIONS.iter().chain(own.iter());
        match needed.all(|migration| applied.contains(&migration.version)) {
            true => Ok(()),
            false => Err(Error::NotMigrated),
        }
    }
}

/// Whether a connection answers in time; an error closes it.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answer = tokio::time::timeout(RELEASE, connection.ping()).await;
    answer.unwrap_or_else(|_| Err(no_answer())).map(|()| true)
}

/// What a call outside of a transaction comes to; `Unavailable` where it takes too long: the other end may be gone
/// without a word.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    answer.unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unavailable, no_answer())))
}

fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
