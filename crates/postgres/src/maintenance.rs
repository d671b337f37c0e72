use std::time::Duration;

use chrono::{NaiveDate, Utc};
use messaging::ledger::{Maintenance, StoreError, Transactions as _};

use crate::{Postgres, store_error};

/// Number of inbox partitions that are created ahead, in days: for clocks that are a little fast, and for a night without
/// housekeeping.
const DAYS_AHEAD: i64 = 3;

impl Maintenance for Postgres {
    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        let today = Utc::now().date_naive();
        let keep = i64::try_from(inbox_retention.as_secs() / 86_400).unwrap_or(i64::MAX / 2) + 1;
        let oldest = today - chrono::Days::new(keep as u64);
        let mut tx = self.begin().await?;
        // Only one process of a service does this at a time.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.inbox'))")
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        let existing: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'inbox'::regclass AND c.relname <> 'inbox_other'",
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(store_error)?;
        for name in &existing {
            let day = name
                .strip_prefix("inbox_")
                .and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
            if day.is_some_and(|day| day < oldest) {
                sqlx::query(&format!("DROP TABLE {name}"))
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
            }
        }
        for ahead in -keep..=DAYS_AHEAD {
            let day = today + chrono::Duration::days(ahead);
            let name = format!("inbox_{}", day.format("%Y%m%d"));
            if existing.contains(&name) {
                continue;
            }
            // Rows of this day that the default partition has received move to the new one.
            let next = day + chrono::Days::new(1);
            let statements = [
                format!("CREATE TABLE {name} (LIKE inbox INCLUDING ALL)"),
                format!(
                    "WITH moved AS (DELETE FROM inbox_other WHERE day = '{day}' RETURNING day, message_id, attempt)
                     INSERT INTO {name} (day, message_id, attempt) SELECT day, message_id, attempt FROM moved"
                ),
                format!("ALTER TABLE inbox ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next}')"),
            ];
            for statement in statements {
                sqlx::query(&statement).execute(&mut *tx).await.map_err(store_error)?;
            }
        }
        sqlx::query("DELETE FROM inbox_other WHERE day < $1")
            .bind(oldest)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        sqlx::query("DELETE FROM relay_leases WHERE expires_at < clock_timestamp() - interval '1 hour'")
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)
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
