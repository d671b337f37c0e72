#![doc = include_str!("../README.md")]

mod aggregates;
mod dedicated;
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

use std::sync::Arc;
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
pub use transactions::Tx;

use crate::dedicated::Dedicated;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The database of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    /// For acknowledged outbox rows.
    acknowledging: Arc<Dedicated>,
    /// For the lease of the relay, which expires if it is not renewed in time.
    leasing: Arc<Dedicated>,
}

/// A database that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DATABASE_URL is not a Postgres URL")]
    Url(#[source] sqlx::Error),
    #[error("the database is unreachable")]
    Unreachable(#[source] sqlx::Error),
    #[error("a migration of the database failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("the database lacks migrations: run the service's `migrate` first")]
    NotMigrated,
    #[error("the metrics of the database cannot be registered")]
    Metrics(#[source] prometheus::Error),
}

/// Applies all migrations that the database of a service lacks, over one connection. `own` are those of the service.
///
/// # Errors
/// Returns an error if the database is unreachable or if a migration fails.
pub async fn migrate(settings: &Settings, own: &Migrator) -> Result<(), Error> {
    Postgres::connect(settings.url.as_str(), 1).await?.migrate(own).await
}

/// Limits that the server enforces, so nothing waits forever and a disconnected client (its host crashed, or the
/// network failed) holds no row. The README explains how they fit together.
const SERVER_LIMITS: [(&str, &str); 7] = [
    ("statement_timeout", "20s"),
    ("lock_timeout", "10s"),
    // An ops command may work for a long time outside of its transaction.
    ("idle_in_transaction_session_timeout", "15min"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15s"),
];
/// Timeout of a call outside of a transaction. It is longer than a statement may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time within which a connection that is returned to the pool must have responded to its last statement. An unresponsive one
/// would occupy the pool until TCP closes it, a quarter of an hour.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

impl Postgres {
    /// Connects with at most `connections` connections and returns when the first one is open.
    ///
    /// # Errors
    /// Returns [`Error::Url`] if the URL is invalid, and [`Error::Unreachable`] if the server does not respond.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(Error::Url)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            // A broken connection is detected when a statement fails, not before each statement.
            .test_before_acquire(false)
            // A migration that runs at the same time may invalidate prepared statements, and the driver keeps them as long
            // as their connection.
            .before_acquire(|_, connection| Box::pin(std::future::ready(Ok(error::is_current(connection.age)))))
            .after_release(|connection, _| Box::pin(is_settled(connection)))
            .connect_with(options.options(SERVER_LIMITS))
            .await
            .map_err(Error::Unreachable)?;
        Ok(Self::from_pool(pool))
    }

    /// Opens the migrated database of a process, and registers the number of connections as a metric. `own` are the
    /// migrations of the service.
    ///
    /// # Errors
    /// Returns an error if the database is unreachable, if it lacks a migration, or if `metrics` already has this metric.
    pub async fn open(settings: &Settings, own: &Migrator, metrics: &prometheus::Registry) -> Result<Self, Error> {
        let postgres = Self::connect(settings.url.as_str(), settings.connections).await?;
        postgres.check_migrations(own).await?;
        postgres.register_metrics(metrics).map_err(Error::Metrics)?;
        Ok(postgres)
    }

    /// Registers the number of connections as a metric.
    ///
    /// # Errors
    /// Returns an error if the registry already has this metric.
    pub fn register_metrics(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        let pool = self.pool.clone();
        register_pool(registry, move || {
            let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
            let used = (i64::from(pool.size()) - idle).max(0);
            PoolConnections { used, idle }
        })
    }

    /// Uses an existing pool.
    pub fn from_pool(pool: PgPool) -> Self {
        let dedicated = || Arc::new(Dedicated::new(PgConnectOptions::clone(&pool.connect_options())));
        Self {
            acknowledging: dedicated(),
            leasing: dedicated(),
            pool,
        }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Applies the migrations of the ledger and then those of the service (`own`). Their versions must not overlap: a
    /// service uses dates (`20260101_…`).
    pub async fn migrate(&self, own: &Migrator) -> Result<(), Error> {
        // A migration may take long.
        let unlimited = [("statement_timeout", "0"), ("lock_timeout", "0")];
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options(unlimited);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(Error::Unreachable)?;
        for migrator in [&MIGRATIONS, own] {
            let migrator = Migrator {
                migrations: migrator.migrations.clone(),
                // Both sets of migrations are recorded in the same table.
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.run(&pool).await.map_err(Error::Migration)?;
        }
        pool.close().await;
        Ok(())
    }

    /// Returns the migrations of the ledger. A test that caches migrated databases must know all of them.
    #[cfg(feature = "testing")]
    pub fn ledger_migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    /// Checks that every migration was applied, because a service does not migrate while it runs.
    ///
    /// # Errors
    /// Returns [`Error::NotMigrated`] if one is missing.
    pub async fn check_migrations(&self, own: &Migrator) -> Result<(), Error> {
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(&self.pool)
            .await
            .map_err(|_| Error::NotMigrated)?;
        let mut needed = MIGRATIONS.iter().chain(own.iter());
        if needed.all(|migration| applied.contains(&migration.version)) {
            Ok(())
        } else {
            Err(Error::NotMigrated)
        }
    }
}

/// Returns `true` when a returned connection has nothing left to receive. An error closes the connection.
///
/// The driver then pings it, but without a time limit. This waits with a limit for the response to an aborted statement or
/// to the rollback of a dropped transaction. It costs no round trip otherwise, unlike a ping.
async fn is_settled(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let settled = tokio::time::timeout(RELEASE_TIMEOUT, connection.flush()).await;
    settled.unwrap_or_else(|_| Err(timed_out())).map(|()| true)
}

/// Runs a call outside of a transaction with a timeout, because the server may be unresponsive.
///
/// # Errors
/// Returns the error of the call, or one of the kind `Unavailable` after the timeout.
pub(crate) async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let result = tokio::time::timeout(CALL_TIMEOUT, call).await;
    result.unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Unavailable, timed_out())))
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
