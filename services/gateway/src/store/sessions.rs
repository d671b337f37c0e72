//! Sessions, and the refresh tokens that extend them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum number of sessions of one user. A further sign-in ends the oldest session.
const MAX_SESSIONS: i64 = 50;

/// SHA-256 of a refresh token.
pub type Hash = [u8; 32];

/// A session: the family of refresh tokens that come from one sign-in.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct Family {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    /// Time when its newest refresh token expires.
    pub expires_at: DateTime<Utc>,
}

/// The result of exchanging a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The new token replaces the old one.
    Rotated {
        user: Uuid,
        family: Uuid,
    },
    /// The token had been used before. Its session was ended.
    Reused {
        user: Uuid,
        family: Uuid,
    },
    Expired,
    /// The token does not exist, or not any more.
    Unknown,
    /// Another transaction has locked the session. The caller must roll back before it retries.
    Locked,
}

/// SQLSTATE `lock_not_available` (PostgreSQL manual, appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Starts a session.
///
/// Returns `false` if the account was closed or its password was changed since `password_hash` was checked.
pub async fn begin(
    pool: &PgPool,
    user: Uuid,
    password_hash: &str,
    family: Uuid,
    token: Hash,
    lifetime: Duration,
) -> sqlx::Result<bool> {
    // The lock on the credentials orders this statement and a change of the password: either the change comes first, or it
    // ends this session too.
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
    .bind(MAX_SESSIONS)
    .bind(password_hash)
    .fetch_one(pool)
    .await
}

/// Replaces a refresh token by a new one. A second use of the same token ends the session.
///
/// It never waits for a row lock, because requests that wait in a transaction would use up the connections of the pool.
pub async fn rotate(tx: &mut postgres::Tx, old: Hash, new: Hash, lifetime: Duration) -> sqlx::Result<Rotation> {
    // The family is locked first, so two uses of one token and a sign-out exclude each other.
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

/// Ends a session. Returns `false` if it had ended before.
pub async fn end(tx: &mut postgres::Tx, family: Uuid) -> sqlx::Result<bool> {
    let ended = sqlx::query("DELETE FROM session_families WHERE id = $1")
        .bind(family)
        .execute(&mut **tx)
        .await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends all sessions of these users except `except`. Returns the user and the id of each session that was ended.
pub async fn end_all(tx: &mut postgres::Tx, users: &[Uuid], except: Option<Uuid>) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    sqlx::query_as(
        "DELETE FROM session_families WHERE user_id = ANY ($1) AND id IS DISTINCT FROM $2 RETURNING user_id, id",
    )
    .bind(users)
    .bind(except)
    .fetch_all(&mut **tx)
    .await
}

/// Returns the sessions of a user, newest first.
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
