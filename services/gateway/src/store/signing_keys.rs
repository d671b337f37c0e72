//! The keys that sign access tokens if no key is configured.

use chrono::{DateTime, Utc};

/// A stored Ed25519 key.
#[derive(sqlx::FromRow)]
pub struct StoredKey {
    pub kid: String,
    /// PKCS#8 in DER.
    pub private_key: Vec<u8>,
    pub created_at: DateTime<Utc>,
}

/// Locks the keys until the transaction ends so that concurrent gateways do not create two keys.
pub async fn lock(tx: &mut postgres::Tx) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.signing_keys'))")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Returns all keys, newest first.
pub async fn newest_first(tx: &mut postgres::Tx) -> sqlx::Result<Vec<StoredKey>> {
    sqlx::query_as("SELECT kid, private_key, created_at FROM signing_keys ORDER BY created_at DESC, kid")
        .fetch_all(&mut **tx)
        .await
}

pub async fn add(tx: &mut postgres::Tx, key: &StoredKey) -> sqlx::Result<()> {
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
