use std::time::Duration;

use chrono::{NaiveDate, Utc};
use messaging::ledger::{Maintenance, StoreError};

use crate::{Postgres, Tx, store_error};

/// Number of inbox partitions that are created ahead, in days: for clocks that are a little fast, and for a night without
/// housekeeping.
const DAYS_AHEAD: i64 = 3;

/// Maximum time for which a change of the inbox's partitions waits for its locks. All transactions that use the inbox wait
/// behind it meanwhile.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";

impl Maintenance for Postgres {
    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        let today = Utc::now().date_naive();
        let keep = i64::try_from(inbox_retention.as_secs() / 86_400).unwrap_or(i64::MAX / 2) + 1;
        let oldest = today - chrono::Days::new(keep as u64);
        self.drop_inbox_partitions(oldest).await?;
        self.create_inbox_partitions((-keep..=DAYS_AHEAD).map(|ahead| today + chrono::Duration::days(ahead)))
            .await?;
        sqlx::query("DELETE FROM inbox_other WHERE day < $1")
            .bind(oldest)
            .execute(self.pool())
            .await
            .map_err(store_error)?;
        sqlx::query("DELETE FROM relay_leases WHERE expires_at < clock_timestamp() - interval '1 hour'")
            .execute(self.pool())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn forget_states(&self, topic: &str, version: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sequences WHERE topic = $1 AND last < $2 AND NOT has_parked")
            .bind(topic)
            .bind(version)
            .execute(self.pool())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn boot_problems(&self) -> Result<Vec<String>, StoreError> {
        let (synchronous_commit, fsync, standbys): (String, String, String) = sqlx::query_as(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'),
                    current_setting('synchronous_standby_names')",
        )
        .fetch_one(self.pool())
        .await
        .map_err(store_error)?;
        let mut problems = Vec::new();
        if synchronous_commit == "off" || (synchronous_commit == "local" && !standbys.is_empty()) {
            problems.push(format!(
                "synchronous_commit is {synchronous_commit}: a commit that a crash or fail-over undoes may have been published"
            ));
        }
        if fsync == "off" {
            problems.push("fsync is off: a commit that a crash undoes may have been published".to_owned());
        }
        Ok(problems)
    }
}

impl Postgres {
    /// Drops the partitions of the days before `oldest`.
    ///
    /// They are detached first, which is short, because a dropped partition would keep the inbox locked while its files are
    /// deleted.
    async fn drop_inbox_partitions(&self, oldest: NaiveDate) -> Result<(), StoreError> {
        for name in self.inbox_partitions(true).await? {
            let is_old = day_of(&name).is_some_and(|day| day < oldest);
            let statements = [format!("ALTER TABLE inbox DETACH PARTITION {name}")];
            if is_old && !self.change_inbox(&name, true, &statements).await? {
                break;
            }
        }
        for name in self.inbox_partitions(false).await? {
            sqlx::query(&format!("DROP TABLE IF EXISTS {name}"))
                .execute(self.pool())
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    async fn create_inbox_partitions(&self, days: impl Iterator<Item = NaiveDate>) -> Result<(), StoreError> {
        let existing = self.inbox_partitions(true).await?;
        for day in days {
            let name = format!("inbox_{}", day.format("%Y%m%d"));
            if existing.contains(&name) {
                continue;
            }
            // Rows of this day that the default partition has received move to the new one. It is locked first, because
            // otherwise it could receive another one in between.
            let next = day + chrono::Days::new(1);
            let statements = [
                "LOCK TABLE inbox_other IN ACCESS EXCLUSIVE MODE".to_owned(),
                format!("CREATE TABLE {name} (LIKE inbox INCLUDING ALL)"),
                format!(
                    "WITH moved AS (DELETE FROM inbox_other WHERE day = '{day}' RETURNING day, message_id, attempt)
                     INSERT INTO {name} (day, message_id, attempt) SELECT day, message_id, attempt FROM moved"
                ),
                format!("ALTER TABLE inbox ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')"),
            ];
            if !self.change_inbox(&name, false, &statements).await? {
                break;
            }
        }
        Ok(())
    }

    /// Returns the names of the inbox's partitions by day: those that are attached, or those that were detached and are
    /// not dropped yet.
    async fn inbox_partitions(&self, attached: bool) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_class c
             WHERE c.relname ~ '^inbox_[0-9]{8}$' AND c.relkind = 'r'
                   AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'inbox'::regclass)
                   AND EXISTS (SELECT 1 FROM pg_inherits
                               WHERE inhparent = 'inbox'::regclass AND inhrelid = c.oid) = $1
             ORDER BY c.relname",
        )
        .bind(attached)
        .fetch_all(self.pool())
        .await
        .map_err(store_error)
    }

    /// Attaches or detaches a partition of the inbox. Only one process of a service does this at a time.
    ///
    /// Returns `false` if a transaction has held the inbox for too long, for example a long query. Then nothing has changed.
    async fn change_inbox(
        &self,
        partition: &str,
        is_attached: bool,
        statements: &[String],
    ) -> Result<bool, StoreError> {
        match self.try_change_inbox(partition, is_attached, statements).await {
            Ok(()) => Ok(true),
            Err(error) if is_lock_timeout(&error) => {
                tracing::warn!(
                    partition,
                    "a transaction holds the inbox, so its partitions were not changed; this is repeated in an hour"
                );
                Ok(false)
            }
            Err(error) => Err(store_error(error)),
        }
    }

    async fn try_change_inbox(&self, partition: &str, is_attached: bool, statements: &[String]) -> sqlx::Result<()> {
        let mut tx = Tx::begin(self.pool()).await?;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *tx).await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.inbox'))")
            .execute(&mut *tx)
            .await?;
        let attached: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_inherits
                            WHERE inhparent = 'inbox'::regclass AND inhrelid = to_regclass($1))",
        )
        .bind(partition)
        .fetch_one(&mut *tx)
        .await?;
        // Otherwise another process was faster.
        if attached == is_attached {
            for statement in statements {
                sqlx::query(statement).execute(&mut *tx).await?;
            }
        }
        tx.commit().await
    }
}

/// Returns the day of a partition of the inbox.
fn day_of(partition: &str) -> Option<NaiveDate> {
    let day = partition.strip_prefix("inbox_")?;
    NaiveDate::parse_from_str(day, "%Y%m%d").ok()
}

/// Returns `true` if a lock was not free in time (`lock_not_available`).
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
