//! The keys that the gateways share through their database. Their age alone decides when they are created, published, used
//! and deleted, so the processes have to agree only on the time.

use std::time::Duration;

use contracts::Timestamp;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rand::RngCore;
use sqlx::PgPool;

use super::keys::{Key, KeyError, KeySet};
use super::settings::Settings;
use crate::store::signing_keys;

/// How long a key is published before it signs. Verifiers cache the key set for five minutes, and a gateway reads a new key
/// within one minute.
const PUBLISHED_BEFORE_USE: Duration = Duration::from_secs(10 * 60);
/// How long a key stays published after its last token has expired.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// The use of the keys, newest first, at one time.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Index of the key that signs.
    signing: usize,
    /// Number of keys that are published. The others are deleted.
    published: usize,
    /// `true` if a new key is due.
    is_due: bool,
}

/// Returns the keys that are in use at `now`. Creates one if there is none or if the newest one is old enough.
pub(super) async fn keys(pool: &PgPool, settings: &Settings, now: Timestamp) -> Result<KeySet, KeyError> {
    let mut tx = postgres::Tx::begin(pool).await?;
    signing_keys::lock(&mut tx).await?;
    let mut stored = signing_keys::newest_first(&mut tx).await?;
    let ages = |stored: &[signing_keys::StoredKey]| stored.iter().map(|key| age(key, now)).collect::<Vec<_>>();
    if plan(&ages(&stored), settings).is_none_or(|plan| plan.is_due) {
        let new = generate(now);
        signing_keys::add(&mut tx, &new).await?;
        tracing::info!(kid = new.kid, "created key {} for access tokens", new.kid);
        stored.insert(0, new);
    }
    let plan = plan(&ages(&stored), settings).expect("at least one key exists");
    let expired: Vec<&str> = stored[plan.published..].iter().map(|key| key.kid.as_str()).collect();
    signing_keys::delete(&mut tx, &expired).await?;
    tx.commit().await?;

    let mut keys: Vec<Key> = stored[..plan.published]
        .iter()
        .map(|key| SigningKey::from_pkcs8_der(&key.private_key).map(|key| Key::ed25519(&key)))
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Stored)?;
    let signing = keys.swap_remove(plan.signing);
    Ok(KeySet::new(signing, keys))
}

/// Returns the plan for keys of these ages, newest first, or `None` if there is no key.
fn plan(ages: &[Duration], settings: &Settings) -> Option<Plan> {
    let newest = *ages.first()?;
    // The very first key signs immediately, because there is no other one.
    let signing = ages
        .iter()
        .position(|age| *age >= PUBLISHED_BEFORE_USE)
        .unwrap_or(ages.len() - 1);
    // The previous signing key stays published until its last token has expired.
    let last_needed = settings.lifetime + MARGIN + PUBLISHED_BEFORE_USE;
    let published = if ages[signing] >= last_needed {
        signing + 1
    } else {
        (signing + 2).min(ages.len())
    };
    Some(Plan {
        signing,
        published,
        is_due: newest >= settings.key_age,
    })
}

fn age(key: &signing_keys::StoredKey, now: Timestamp) -> Duration {
    let micros = now.as_micros() - Timestamp::from(key.created_at).as_micros();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn generate(now: Timestamp) -> signing_keys::StoredKey {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    let key = SigningKey::from_bytes(&seed);
    let private_key = key.to_pkcs8_der().expect("an Ed25519 key can be encoded");
    signing_keys::StoredKey {
        kid: Key::ed25519(&key).kid,
        private_key: private_key.as_bytes().to_vec(),
        created_at: now.to_utc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;

    fn at(ages: &[u64]) -> Option<(usize, usize, bool)> {
        let settings = Settings {
            lifetime: Duration::from_secs(15 * MINUTE),
            key_age: Duration::from_secs(90 * DAY),
            ..Settings::default()
        };
        let ages: Vec<Duration> = ages.iter().copied().map(Duration::from_secs).collect();
        plan(&ages, &settings).map(|plan| (plan.signing, plan.published, plan.is_due))
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_after_it_has_signed() {
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[0]), Some((0, 1, false)), "the first key signs immediately");
        assert_eq!(at(&[90 * DAY]), Some((0, 1, true)), "a new key is due");
        assert_eq!(
            at(&[0, 90 * DAY]),
            Some((1, 2, false)),
            "the new key is published before it signs"
        );
        assert_eq!(at(&[9 * MINUTE, 90 * DAY]), Some((1, 2, false)));
        assert_eq!(at(&[10 * MINUTE, 90 * DAY]), Some((0, 2, false)), "the new key signs");
        assert_eq!(
            at(&[84 * MINUTE, 90 * DAY]),
            Some((0, 2, false)),
            "tokens of the old key may still be valid"
        );
        assert_eq!(
            at(&[85 * MINUTE, 90 * DAY]),
            Some((0, 1, false)),
            "the tokens of the old key have expired"
        );
    }
}
