#![doc = include_str!("../README.md")]

mod aggregates;
mod error;
mod event_store;
mod history;
mod journal;
mod ledger;
mod operations;
mod outbox;
mod pool_metrics;

use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::pool_metrics::PoolMetrics;

pub use aggregates::{Aggregates, Decided, Store};
pub use error::store_error;
pub use event_store::{Journaled, SNAPSHOT_EVERY};
pub use journal::Journal;

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

impl Postgres {
    /// Connects with at most `connections`; answers when one is there.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(Error::Url)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            // A connection is looked at when a statement fails, not before each one.
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(Error::Unreachable)?;
        Ok(Self { pool })
    }

    /// Shows the pool in the process's metrics.
    pub fn register_metrics(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(PoolMetrics::new(self.pool.clone())?))
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
        for migrator in [&MIGRATIONS, own] {
            let migrator = Migrator {
                migrations: migrator.migrations.clone(),
                // The other one's migrations are in the same table.
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.run(&self.pool).await.map_err(Error::Migration)?;
        }
        Ok(())
    }

    /// The ledger's own migrations, for those who need to know them all.
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
