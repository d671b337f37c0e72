//! Keys that sign access tokens, where none is configured.

use chrono::{DateTime, Utc};

/// A key of Ed25519.
#[derive(sqlx::FromRow)]
pub struct Stored {
    pub kid: String,
    /// PKCS#8, DER.
    pub private_key: Vec<u8>,
    pub created_at: DateTime<Utc>,
}

/// Until the transaction ends: gateways that look at the same time must not make two.
pub async fn lock(tx: &mut postgres::Tx) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.signing_keys'))")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn newest_first(tx: &mut postgres::Tx) -> sqlx::Result<Vec<Stored>> {
    sqlx::query_as("SELECT kid, private_key, created_at FROM signing_keys ORDER BY created_at DESC, kid")
        .fetch_all(&mut **tx)
        .await
}

pub async fn add(tx: &mut postgres::Tx, key: &Stored) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO signing_keys (kid, private_key, created_at) VALUES ($1, $2, $3)")
        .bind(&key.kid)
        .bind(&key.private_key)
        .bind(key.created_at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub async fn delete(tx: &mut postgres::Tx, kids: &[&str]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM signing_keys WHERE kid = ANY ($1)")
        .bind(kids)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
