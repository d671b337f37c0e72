//! The keys that the gateways share through their database: made, published, used and forgotten by their age alone,
//! so that processes need not agree on anything but the time.

use std::time::Duration;

use contracts::Timestamp;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rand::RngCore;
use sqlx::PgPool;

use super::keys::{Key, KeyError, KeySet};
use crate::config;
use crate::store::signing_keys;

/// How long a key is published before it signs: verifiers keep the key set for five minutes, and a gateway learns of a
/// key within one.
const PUBLISHED_FIRST: Duration = Duration::from_secs(10 * 60);
/// How much longer than its last token a key is published.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// What becomes of keys, the newest first, at one moment.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Which one signs.
    signing: usize,
    /// How many are published; the rest is forgotten.
    published: usize,
    /// Whether it is time for a new one.
    is_due: bool,
}

/// The keys of now. Makes one where there is none, or the newest is old enough.
pub(super) async fn keys(pool: &PgPool, config: &config::Tokens, now: Timestamp) -> Result<KeySet, KeyError> {
    let mut tx = pool.begin().await?;
    signing_keys::lock(&mut tx).await?;
    let mut stored = signing_keys::newest_first(&mut tx).await?;
    let ages = |stored: &[signing_keys::Stored]| stored.iter().map(|key| age(key, now)).collect::<Vec<_>>();
    if plan(&ages(&stored), config).is_none_or(|plan| plan.is_due) {
        let new = make(now);
        signing_keys::add(&mut tx, &new).await?;
        tracing::info!(kid = new.kid, "a new key for access tokens was made");
        stored.insert(0, new);
    }
    let plan = plan(&ages(&stored), config).expect("there is a key");
    let gone: Vec<&str> = stored[plan.published..].iter().map(|key| key.kid.as_str()).collect();
    signing_keys::delete(&mut tx, &gone).await?;
    tx.commit().await?;

    let mut keys: Vec<Key> = stored[..plan.published]
        .iter()
        .map(|key| SigningKey::from_pkcs8_der(&key.private_key).map(|key| Key::ed25519(&key)))
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Stored)?;
    let signing = keys.swap_remove(plan.signing);
    Ok(KeySet::new(signing, keys))
}

/// `ages`: of the keys, the newest first. `None`: there is none.
fn plan(ages: &[Duration], config: &config::Tokens) -> Option<Plan> {
    let newest = *ages.first()?;
    // The first key of all signs at once: there is no other.
    let signing = ages
        .iter()
        .position(|age| *age >= PUBLISHED_FIRST)
        .unwrap_or(ages.len() - 1);
    // One that signed before is published until its last token has expired.
    let last_needed = config.lifetime + MARGIN + PUBLISHED_FIRST;
    let published = match ages[signing] >= last_needed {
        true => signing + 1,
        false => (signing + 2).min(ages.len()),
    };
    Some(Plan {
        signing,
        published,
        is_due: newest >= config.key_age,
    })
}

fn age(key: &signing_keys::Stored, now: Timestamp) -> Duration {
    let micros = now.as_micros() - Timestamp::from(key.created_at).as_micros();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn make(now: Timestamp) -> signing_keys::Stored {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    let key = SigningKey::from_bytes(&seed);
    let private_key = key.to_pkcs8_der().expect("an Ed25519 key can be encoded");
    signing_keys::Stored {
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
        let config = config::Tokens {
            lifetime: Duration::from_secs(15 * MINUTE),
            key_age: Duration::from_secs(90 * DAY),
            ..config::Tokens::default()
        };
        let ages: Vec<Duration> = ages.iter().copied().map(Duration::from_secs).collect();
        plan(&ages, &config).map(|plan| (plan.signing, plan.published, plan.is_due))
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_after_it_has_signed() {
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[0]), Some((0, 1, false)), "the first one signs at once");
        assert_eq!(at(&[90 * DAY]), Some((0, 1, true)), "it is time for another");
        assert_eq!(
            at(&[0, 90 * DAY]),
            Some((1, 2, false)),
            "the new one is published first"
        );
        assert_eq!(at(&[9 * MINUTE, 90 * DAY]), Some((1, 2, false)));
        assert_eq!(at(&[10 * MINUTE, 90 * DAY]), Some((0, 2, false)), "it signs");
        assert_eq!(
            at(&[84 * MINUTE, 90 * DAY]),
            Some((0, 2, false)),
            "tokens of the old one may be there"
        );
        assert_eq!(at(&[85 * MINUTE, 90 * DAY]), Some((0, 1, false)), "and are no more");
    }
}
