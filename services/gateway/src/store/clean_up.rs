//! The statements that delete old rows.
//!
//! Each deletes a limited number of rows, and finds them by an index. For that, their conditions use `now()`:
//! `clock_timestamp()` is volatile, and Postgres does not look up a volatile value in an index. Rows of other tables are
//! looked up with a scalar subquery, because Postgres may read a whole table for a `NOT EXISTS`.

use std::time::Duration;

use sqlx::PgPool;

use super::operations::Kind;
use crate::config::Retention;

/// Maximum number of rows that one statement selects.
const LIMIT: i64 = 1_000;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// One kind of rows, and the age from which they are deleted.
pub struct OldRows {
    /// Name for the log, and for the lock.
    pub name: &'static str,
    age: Duration,
    /// Deletes old rows and returns their number. `$1` is the age in seconds, `$2` the maximum number of rows.
    statement: String,
}

/// The result of one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There may be more old rows.
    Some,
    /// There are no more old rows.
    All,
    /// Another process deletes these rows now.
    Skipped,
}

impl OldRows {
    /// Returns all kinds of rows that are deleted.
    pub fn all(retention: Retention) -> [Self; 6] {
        [
            idempotency_keys(retention.idempotency_keys),
            operations(retention.operations),
            queries(),
            pending_credentials(retention.operations),
            expired_sessions(),
            expired_links(),
        ]
    }

    /// Deletes a limited number of old rows, unless another process does so at this time.
    pub async fn delete_some(&self, pool: &PgPool) -> sqlx::Result<Deleted> {
        let mut tx = pool.begin().await?;
        let is_free: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtext('rollcall.clean_up'), hashtext($1))")
                .bind(self.name)
                .fetch_one(&mut *tx)
                .await?;
        if !is_free {
            tx.rollback().await?;
            return Ok(Deleted::Skipped);
        }
        let rows: i64 = sqlx::query_scalar(&self.statement)
            .bind(self.age.as_secs_f64())
            .bind(LIMIT)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(if rows < LIMIT { Deleted::All } else { Deleted::Some })
    }
}

fn idempotency_keys(age: Duration) -> OldRows {
    OldRows {
        name: "Idempotency-Keys",
        age,
        statement: "WITH deleted AS (
             UPDATE operations SET idempotency_key = NULL, scope = NULL, fingerprint = NULL
             WHERE id = ANY (ARRAY (
                 SELECT id FROM operations
                 WHERE idempotency_key IS NOT NULL AND created_at < now() - make_interval(secs => $1)
                 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
             RETURNING 1)
         SELECT count(*) FROM deleted"
            .to_owned(),
    }
}

fn operations(age: Duration) -> OldRows {
    OldRows {
        name: "operations",
        age,
        statement: "WITH deleted AS (
             DELETE FROM operations WHERE id = ANY (ARRAY (
                 SELECT id FROM operations WHERE created_at < now() - make_interval(secs => $1)
                 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
             RETURNING 1)
         SELECT count(*) FROM deleted"
            .to_owned(),
    }
}

fn queries() -> OldRows {
    // Literals, because the index contains only these kinds.
    let kinds: Vec<String> = Kind::queries().into_iter().map(|kind| format!("'{kind}'")).collect();
    OldRows {
        name: "queries",
        age: HOUR,
        statement: format!(
            "WITH deleted AS (
                 DELETE FROM operations WHERE id = ANY (ARRAY (
                     SELECT id FROM operations
                     WHERE kind IN ({}) AND created_at < now() - make_interval(secs => $1)
                     ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING 1)
             SELECT count(*) FROM deleted",
            kinds.join(", ")
        ),
    }
}

/// The reply to a sign-up without an operation has no effect, so its credentials would stay pending.
fn pending_credentials(age: Duration) -> OldRows {
    OldRows {
        name: "pending credentials",
        age,
        statement: "WITH deleted AS (
             DELETE FROM credentials WHERE user_id = ANY (ARRAY (
                 SELECT user_id FROM credentials c
                 WHERE NOT active AND created_at < now() - make_interval(secs => $1)
                   AND (SELECT true FROM operations o WHERE o.id = c.operation_id) IS NULL
                 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
             RETURNING 1)
         SELECT count(*) FROM deleted"
            .to_owned(),
    }
}

/// A session ends with its last token. It is locked before its tokens, in the same order as by a refresh or a sign-out.
///
/// Tokens are kept for an hour after they expire, so that no refresh that began before inserts a token into a session that
/// is being deleted.
fn expired_sessions() -> OldRows {
    OldRows {
        name: "expired sessions",
        age: HOUR,
        statement: "WITH expired AS MATERIALIZED (
             SELECT t.hash, t.family_id FROM refresh_tokens t JOIN session_families f ON f.id = t.family_id
             WHERE t.expires_at < now() - make_interval(secs => $1)
             ORDER BY t.expires_at LIMIT $2 FOR UPDATE OF f SKIP LOCKED),
         tokens AS (DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM expired)),
         sessions AS (
             DELETE FROM session_families f WHERE id IN (SELECT family_id FROM expired) AND (
                 SELECT true FROM refresh_tokens t
                 WHERE t.family_id = f.id AND t.hash NOT IN (SELECT hash FROM expired) LIMIT 1) IS NULL)
         SELECT count(*) FROM expired"
            .to_owned(),
    }
}

fn expired_links() -> OldRows {
    OldRows {
        name: "expired links",
        age: Duration::ZERO,
        statement: "WITH deleted AS (
             DELETE FROM link_nonces WHERE nonce = ANY (ARRAY (
                 SELECT nonce FROM link_nonces WHERE expires_at < now() - make_interval(secs => $1)
                 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
             RETURNING 1)
         SELECT count(*) FROM deleted"
            .to_owned(),
    }
}
