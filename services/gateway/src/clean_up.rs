//! Deletes old rows: operations, Idempotency-Keys, credentials, sessions and links that are no longer needed.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::Retention;
use crate::store::clean_up::{Deleted, OldRows};

/// Interval at which old rows are deleted.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Deletes old rows of each kind in a separate loop, so that one that fails or takes long does not stop the others.
///
/// Every process runs it. A lock in the database ensures that only one process at a time deletes rows of one kind.
pub struct CleanUp {
    pool: PgPool,
    retention: Retention,
}

impl CleanUp {
    pub fn new(pool: PgPool, retention: Retention) -> Self {
        Self { pool, retention }
    }

    /// Deletes old rows at an interval, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let all = OldRows::all(self.retention);
        let loops = all.iter().map(|rows| repeat(&self.pool, rows));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = join_all(loops) => {}
        }
    }

    /// Deletes all old rows once.
    ///
    /// # Errors
    /// Returns the first error. Old rows of other kinds may then exist.
    pub async fn run_once(&self) -> sqlx::Result<()> {
        for rows in OldRows::all(self.retention) {
            delete_all(&self.pool, &rows).await?;
        }
        Ok(())
    }
}

async fn repeat(pool: &PgPool, rows: &OldRows) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = delete_all(pool, rows).await {
            let name = rows.name;
            tracing::warn!(%error, name, "cannot delete old {name}; the next attempt is in ten minutes: {error}");
        }
    }
}

/// Deletes until no old row is left, or another process deletes these rows.
async fn delete_all(pool: &PgPool, rows: &OldRows) -> sqlx::Result<()> {
    loop {
        let started = Instant::now();
        match rows.delete_some(pool).await? {
            Deleted::Some => {}
            Deleted::All | Deleted::Skipped => return Ok(()),
        }
        // Deletes for at most half of the time, because requests use the same database.
        tokio::time::sleep(started.elapsed()).await;
    }
}
