//! Sign-ins, and the refresh tokens that keep them going.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// Sign-ins of one user at a time; one more ends the oldest.
const MOST: i64 = 50;

/// SHA-256 of a refresh token.
pub type Hash = [u8; 32];

/// A sign-in and all that came of it.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Family {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    /// When its newest refresh token expires.
    pub expires_at: DateTime<Utc>,
}

/// What became of an old refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The new one is there in its place.
    Rotated {
        user: Uuid,
        family: Uuid,
    },
    /// It was used before: its family has ended.
    Reused {
        user: Uuid,
        family: Uuid,
    },
    Expired,
    /// There is none such, or not any more.
    Unknown,
    /// Another transaction holds the family's row. The caller must roll back before it tries again.
    Locked,
}

/// SQLSTATE `lock_not_available` (PostgreSQL manual, appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// `false`: by now the account is closed, or its password is another one than that with this hash, which was checked.
pub async fn begin(
    pool: &PgPool,
    user: Uuid,
    password_hash: &str,
    family: Uuid,
    token: Hash,
    lifetime: Duration,
) -> sqlx::Result<bool> {
    // Locked: a new password ends this session too, or was there first.
    sqlx::query_scalar(
        "WITH checked AS (
             SELECT user_id FROM credentials WHERE user_id = $2 AND active AND password_hash = $6 FOR SHARE),
              begun AS (INSERT INTO session_families (id, user_id) SELECT $1::uuid, user_id FROM checked RETURNING id),
              first AS (
             INSERT INTO refresh_tokens (hash, family_id, expires_at)
             SELECT $3::bytea, id, clock_timestamp() + make_interval(secs => $4) FROM begun),
              oldest AS (
             DELETE FROM session_families WHERE EXISTS (SELECT FROM begun) AND id IN (
                 SELECT id FROM session_families WHERE user_id = $2 ORDER BY created_at DESC OFFSET $5 - 1))
         SELECT EXISTS (SELECT FROM begun)",
    )
    .bind(family)
    .bind(user)
    .bind(token)
    .bind(lifetime.as_secs_f64())
    .bind(MOST)
    .bind(password_hash)
    .fetch_one(pool)
    .await
}

/// Uses up the old token, and puts the new one in its place. Whoever comes second with the same one ends the family.
///
/// It never waits for a row lock, because requests that wait in a transaction would take every connection of the pool.
pub async fn rotate(tx: &mut postgres::Tx, old: Hash, new: Hash, lifetime: Duration) -> sqlx::Result<Rotation> {
    // The family is locked first, so that two who come with one token, and one who signs out, take turns.
    let family: sqlx::Result<Option<(Uuid, Uuid)>> = sqlx::query_as(
        "SELECT f.user_id, f.id FROM session_families f JOIN refresh_tokens t ON t.family_id = f.id
         WHERE t.hash = $1 FOR UPDATE OF f NOWAIT",
    )
    .bind(old)
    .fetch_optional(&mut **tx)
    .await;
    let (user, family) = match family {
        Ok(Some(family)) => family,
        Ok(None) => return Ok(Rotation::Unknown),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            return Ok(Rotation::Locked);
        }
        Err(error) => return Err(error),
    };
    let (was_used, has_expired): (bool, bool) = sqlx::query_as(
        "SELECT used_at IS NOT NULL, expires_at <= clock_timestamp() FROM refresh_tokens WHERE hash = $1",
    )
    .bind(old)
    .fetch_one(&mut **tx)
    .await?;
    if was_used {
        end(tx, family).await?;
        return Ok(Rotation::Reused { user, family });
    }
    if has_expired {
        return Ok(Rotation::Expired);
    }
    sqlx::query(
        "WITH used AS (UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE hash = $1)
         INSERT INTO refresh_tokens (hash, family_id, expires_at)
         VALUES ($2, $3, clock_timestamp() + make_interval(secs => $4))",
    )
    .bind(old)
    .bind(new)
    .bind(family)
    .bind(lifetime.as_secs_f64())
    .execute(&mut **tx)
    .await?;
    Ok(Rotation::Rotated { user, family })
}

/// `false`: it had ended before.
pub async fn end(tx: &mut postgres::Tx, family: Uuid) -> sqlx::Result<bool> {
    let ended = sqlx::query("DELETE FROM session_families WHERE id = $1")
        .bind(family)
        .execute(&mut **tx)
        .await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends all of these users but the one, and answers users and families.
pub async fn end_all(tx: &mut postgres::Tx, users: &[Uuid], but: Option<Uuid>) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    sqlx::query_as(
        "DELETE FROM session_families WHERE user_id = ANY ($1) AND id IS DISTINCT FROM $2 RETURNING user_id, id",
    )
    .bind(users)
    .bind(but)
    .fetch_all(&mut **tx)
    .await
}

/// A user's, the newest first.
pub async fn of_user(pool: &PgPool, user: Uuid) -> sqlx::Result<Vec<Family>> {
    sqlx::query_as(
        "SELECT f.id, f.created_at, max(t.expires_at) AS expires_at
         FROM session_families f JOIN refresh_tokens t ON t.family_id = f.id
         WHERE f.user_id = $1 GROUP BY f.id ORDER BY f.created_at DESC",
    )
    .bind(user)
    .fetch_all(pool)
    .await
}

/// Forgets tokens that have expired, and families that have none left.
pub async fn clean_up(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM refresh_tokens WHERE expires_at < clock_timestamp()")
        .execute(pool)
        .await?;
    sqlx::query(
        "DELETE FROM session_families f WHERE created_at < clock_timestamp() - interval '1 hour'
         AND NOT EXISTS (SELECT FROM refresh_tokens t WHERE t.family_id = f.id)",
    )
    .execute(pool)
    .await?;
    Ok(())
}
