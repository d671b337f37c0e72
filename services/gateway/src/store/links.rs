//! Nonces of links sent by e-mail. Each link can be used once.

use contracts::links::{Link, Purpose};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::column;

/// Stores the nonces of new links.
pub async fn add(tx: &mut postgres::Tx, links: &[(Purpose, Link)]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO link_nonces (nonce, user_id, purpose, expires_at)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])",
    )
    .bind(column(links, |(_, link)| link.nonce))
    .bind(column(links, |(_, link)| link.user_id))
    .bind(column(links, |(purpose, _)| name(*purpose)))
    .bind(column(links, |(_, link)| link.expires_at.to_utc()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Returns `true` if the link exists and was not used.
pub async fn is_unused(executor: impl PgExecutor<'_>, purpose: Purpose, link: &Link) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM link_nonces WHERE nonce = $1 AND user_id = $2 AND purpose = $3)")
        .bind(link.nonce)
        .bind(link.user_id)
        .bind(name(purpose))
        .fetch_one(executor)
        .await
}

/// Deletes the nonce of a link so that it cannot be used again.
///
/// Returns `false` if the link was used before. Of two concurrent callers, one gets `true`.
pub async fn use_up(tx: &mut postgres::Tx, purpose: Purpose, link: &Link) -> sqlx::Result<bool> {
    let used = sqlx::query("DELETE FROM link_nonces WHERE nonce = $1 AND user_id = $2 AND purpose = $3")
        .bind(link.nonce)
        .bind(link.user_id)
        .bind(name(purpose))
        .execute(&mut **tx)
        .await?;
    Ok(used.rows_affected() == 1)
}

/// Invalidates all links of this user for this purpose.
pub async fn withdraw(tx: &mut postgres::Tx, purpose: Purpose, user: Uuid) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM link_nonces WHERE user_id = $1 AND purpose = $2")
        .bind(user)
        .bind(name(purpose))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Returns the current e-mail address of a user, or `None` if the user is not allowed to sign in. A link is checked
/// against it.
pub async fn address(pool: &PgPool, user: Uuid) -> sqlx::Result<Option<Address>> {
    sqlx::query_as(
        "SELECT p.email, p.email_verified FROM profiles p JOIN credentials c ON c.user_id = p.user_id
         WHERE p.user_id = $1 AND c.active",
    )
    .bind(user)
    .fetch_optional(pool)
    .await
}

/// The e-mail address of a user who may sign in.
#[derive(sqlx::FromRow)]
pub struct Address {
    pub email: String,
    pub email_verified: bool,
}

const fn name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::VerifyEmail => "verify-email",
        Purpose::ResetPassword => "reset-password",
    }
}
