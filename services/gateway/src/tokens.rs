//! Access tokens: JWTs (RFC 7519) signed with EdDSA (RFC 8037) or RS256 (RFC 7518), and the keys that verify them
//! (RFC 7517).

mod keys;
mod rotation;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use contracts::Timestamp;
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::roles::{Role, Roles};

pub use keys::KeyError;
use keys::KeySet;
pub use settings::{Algorithm, Settings};

/// Tolerated difference between clocks, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// Maximum number of cached tokens. A full cache is cleared; each token is then verified once more.
const MAX_CACHED_TOKENS: usize = 20_000;
/// Interval at which the keys are read from the database.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Signs and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    settings: Settings,
    keys: RwLock<Arc<KeySet>>,
    /// Verified tokens by their SHA-256. They are cached, because verifying a signature costs more than the rest of a read.
    verified: RwLock<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone, Copy)]
struct Verified {
    bearer: Bearer,
    expires: u64,
}

/// The user of an access token, and the session that it was issued in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bearer {
    pub user: Uuid,
    /// Id of the family of refresh tokens.
    pub session: Uuid,
}

/// The reason why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid")]
    Invalid,
}

/// An access token, as it is issued at a sign-in.
#[derive(Clone)]
pub struct AccessToken {
    pub text: String,
    pub lifetime_seconds: u64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    iat: u64,
    exp: u64,
    jti: Uuid,
    roles: Vec<Role>,
}

impl Tokens {
    /// Loads the configured keys or, if none is configured, those that the gateways share through their database.
    ///
    /// # Errors
    /// Returns an error if a configured or stored key is invalid, or if the database fails.
    pub async fn load(settings: &Settings, pool: &PgPool) -> Result<Self, KeyError> {
        let keys = match KeySet::configured(settings)? {
            Some(keys) => keys,
            None => rotation::keys(pool, settings, Timestamp::now()).await?,
        };
        Ok(Self::new(settings, keys))
    }

    fn new(settings: &Settings, keys: KeySet) -> Self {
        Self(Arc::new(Inner {
            settings: settings.clone(),
            keys: RwLock::new(Arc::new(keys)),
            verified: RwLock::default(),
        }))
    }

    /// Reads the keys from the database at an interval, until `stop`. Creates a new key when the newest one is old enough.
    ///
    /// Returns immediately if a key is configured.
    pub async fn run(self, pool: PgPool, stop: CancellationToken) {
        if self.0.settings.signing_key.is_some() {
            return;
        }
        let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.renew(&pool, Timestamp::now()).await {
                let error = chassis::error_chain(&error);
                tracing::warn!(
                    error,
                    "cannot read the keys of access tokens; the current keys will stay in use: {error}"
                );
            }
        }
    }

    /// Reads the keys from the database once and creates a new key if one is due.
    pub async fn renew(&self, pool: &PgPool, now: Timestamp) -> Result<(), KeyError> {
        let keys = rotation::keys(pool, &self.0.settings, now).await?;
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        // Tokens that were signed with a deleted key are no longer valid.
        self.0.verified.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn refresh_lifetime(&self) -> Duration {
        self.0.settings.refresh_lifetime
    }

    /// Returns the public keys as a JWK set.
    pub fn key_set(&self) -> Value {
        self.keys().jwk_set()
    }

    /// Issues a token. Its roles are information for the client; the gateway reads the roles from the store.
    pub fn issue(&self, bearer: Bearer, roles: Roles) -> AccessToken {
        let settings = &self.0.settings;
        let (now, lifetime_seconds) = (seconds(Timestamp::now()), settings.lifetime.as_secs());
        let claims = Claims {
            iss: settings.issuer.clone(),
            aud: settings.issuer.clone(),
            sub: bearer.user,
            sid: bearer.session,
            iat: now,
            exp: now + lifetime_seconds,
            jti: Uuid::now_v7(),
            roles: roles.list(),
        };
        let keys = self.keys();
        let key = keys.signing();
        let header = Header {
            kid: Some(key.kid.clone()),
            ..Header::new(key.algorithm)
        };
        AccessToken {
            text: jsonwebtoken::encode(&header, &claims, &key.signing)
                .expect("the key was validated when it was loaded"),
            lifetime_seconds,
        }
    }

    /// Verifies a token and returns its user and session.
    pub fn verify(&self, token: &str) -> Result<Bearer, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self
            .0
            .verified
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&digest)
            .copied();
        if let Some(known) = known {
            let live = seconds(Timestamp::now()) < known.expires + LEEWAY_SECONDS;
            return live.then_some(known.bearer).ok_or(TokenError::Expired);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let keys = self.keys();
        let key = header
            .kid
            .and_then(|kid| keys.verifying(&kid))
            .ok_or(TokenError::Invalid)?;
        let issuer = &self.0.settings.issuer;
        // The key determines the algorithm. The `alg` header of the token is not trusted.
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifying, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        let bearer = Bearer {
            user: claims.sub,
            session: claims.sid,
        };
        let mut verified = self.0.verified.write().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_CACHED_TOKENS {
            verified.clear();
        }
        let expires = claims.exp;
        verified.insert(digest, Verified { bearer, expires });
        Ok(bearer)
    }
}

/// Returns the Unix time in seconds.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::SigningKey;
    use serde_json::json;

    use super::*;
    use keys::Key;

    const ADA: Bearer = Bearer {
        user: Uuid::from_u128(7),
        session: Uuid::from_u128(8),
    };

    fn tokens(seed: u8, issuer: &str, lifetime: u64) -> Tokens {
        let settings = Settings {
            issuer: issuer.to_owned(),
            lifetime: Duration::from_secs(lifetime),
            ..Settings::default()
        };
        let key = Key::ed25519(&SigningKey::from_bytes(&[seed; 32]));
        Tokens::new(&settings, KeySet::new(key, Vec::new()))
    }

    #[test]
    fn a_token_is_valid_only_for_its_key_and_issuer() {
        let token = tokens(1, "rollcall", 900).issue(ADA, Roles::default()).text;
        assert_eq!(tokens(1, "rollcall", 900).verify(&token), Ok(ADA));
        assert_eq!(tokens(1, "elsewhere", 900).verify(&token), Err(TokenError::Invalid));
        assert_eq!(tokens(2, "rollcall", 900).verify(&token), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_of_another_algorithm_or_without_signature_is_refused() {
        let tokens = tokens(1, "rollcall", 900);
        let token = tokens.issue(ADA, Roles::default()).text;
        let (head, signature) = token.rsplit_once('.').expect("three parts");
        let claims = head.split_once('.').expect("three parts").1;
        let kid = tokens.keys().signing().kid.clone();
        let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "kid": kid }).to_string());
        let hmac = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": kid }).to_string());
        for forged in [
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{hmac}.{claims}.{signature}"),
            format!("{head}."),
            "not.a.token".to_owned(),
            String::new(),
        ] {
            assert_eq!(tokens.verify(&forged), Err(TokenError::Invalid), "{forged}");
        }
    }

    #[test]
    fn an_expired_token_is_refused_even_if_it_was_verified_before() {
        let tokens = tokens(1, "rollcall", 0);
        let token = tokens.issue(ADA, Roles::default()).text;
        assert!(tokens.verify(&token).is_ok(), "within the leeway");
        let mut verified = tokens.0.verified.write().unwrap_or_else(PoisonError::into_inner);
        verified
            .values_mut()
            .for_each(|cached| cached.expires -= LEEWAY_SECONDS + 1);
        drop(verified);
        assert_eq!(tokens.verify(&token), Err(TokenError::Expired));
    }
}
