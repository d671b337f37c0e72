//! Access tokens: JWTs (RFC 7519) signed with EdDSA (RFC 8037), and the keys that verify them (RFC 7517).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::Timestamp;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::config;
use crate::roles::{Role, Roles};

/// Clocks differ by that much.
const LEEWAY_SECONDS: u64 = 5;
/// Verified tokens that are remembered. A full memory is emptied: refilling costs one verification each.
const REMEMBERED: usize = 20_000;

/// Signs and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    kid: String,
    signing: EncodingKey,
    verifying: HashMap<String, DecodingKey>,
    key_set: Value,
    validation: Validation,
    issuer: String,
    lifetime_seconds: u64,
    /// By the SHA-256 of the token: verifying a signature costs more than all the rest of a read.
    verified: RwLock<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone, Copy)]
struct Verified {
    user: Uuid,
    expires: u64,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("JWT_SIGNING_KEY is no Ed25519 private key in PKCS#8 PEM")]
    Setting,
    #[error("the signing key kept in the database can't be read")]
    Stored,
    #[error("the database does not answer")]
    Database(#[source] sqlx::Error),
}

/// A token that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid")]
    Invalid,
}

/// What is handed out at a sign-in.
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
    iat: u64,
    exp: u64,
    jti: Uuid,
    roles: Vec<Role>,
}

impl Tokens {
    /// With the configured key, else with the one that the gateways share through their database.
    pub async fn load(config: &config::Tokens, pool: &PgPool) -> Result<Self, KeyError> {
        let key = match &config.signing_key {
            Some(pem) => {
                // Environments that hold no line breaks write them as \n.
                let pem = pem.expose().replace("\\n", "\n");
                SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Setting)?
            }
            None => shared(pool).await?,
        };
        Ok(Self::new(config, &key))
    }

    fn new(config: &config::Tokens, key: &SigningKey) -> Self {
        let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        let kid = thumbprint(&public);
        let private = key.to_pkcs8_der().expect("an Ed25519 key can be encoded");
        let verifying = DecodingKey::from_ed_components(&public).expect("this is base64url");
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self(Arc::new(Inner {
            signing: EncodingKey::from_ed_der(private.as_bytes()),
            verifying: HashMap::from([(kid.clone(), verifying)]),
            key_set: json!({ "keys": [
                { "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": public }
            ]}),
            kid,
            validation,
            issuer: config.issuer.clone(),
            lifetime_seconds: config.lifetime.as_secs(),
            verified: RwLock::default(),
        }))
    }

    /// The public keys, as a JWK set.
    pub fn key_set(&self) -> &Value {
        &self.0.key_set
    }

    /// A new token. The roles in it are for its reader: the gateway looks them up.
    pub fn issue(&self, user: Uuid, roles: Roles) -> AccessToken {
        let now = seconds(Timestamp::now());
        let claims = Claims {
            iss: self.0.issuer.clone(),
            aud: self.0.issuer.clone(),
            sub: user,
            iat: now,
            exp: now + self.0.lifetime_seconds,
            jti: Uuid::now_v7(),
            roles: roles.list(),
        };
        let header = Header {
            kid: Some(self.0.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        AccessToken {
            text: jsonwebtoken::encode(&header, &claims, &self.0.signing).expect("the key was tried when it was made"),
            lifetime_seconds: self.0.lifetime_seconds,
        }
    }

    /// Whose token this is.
    pub fn verify(&self, token: &str) -> Result<Uuid, Refused> {
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
            return live.then_some(known.user).ok_or(Refused::Expired);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Invalid)?;
        let key = header
            .kid
            .and_then(|kid| self.0.verifying.get(&kid))
            .ok_or(Refused::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.0.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => Refused::Expired,
                _ => Refused::Invalid,
            })?
            .claims;
        let mut verified = self.0.verified.write().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        let (user, expires) = (claims.sub, claims.exp);
        verified.insert(digest, Verified { user, expires });
        Ok(user)
    }
}

/// The key that the first process made.
async fn shared(pool: &PgPool) -> Result<SigningKey, KeyError> {
    let mut seed = [0; 32];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut seed);
    let new = SigningKey::from_bytes(&seed);
    let kid = thumbprint(&URL_SAFE_NO_PAD.encode(new.verifying_key().as_bytes()));
    let der = new.to_pkcs8_der().expect("an Ed25519 key can be encoded");
    let mut tx = pool.begin().await.map_err(KeyError::Database)?;
    // Processes that start together must end up with one key.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rollcall.signing_keys'))")
        .execute(&mut *tx)
        .await
        .map_err(KeyError::Database)?;
    sqlx::query(
        "INSERT INTO signing_keys (kid, private_key) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM signing_keys)",
    )
    .bind(kid)
    .bind(der.as_bytes())
    .execute(&mut *tx)
    .await
    .map_err(KeyError::Database)?;
    let kept: Vec<u8> = sqlx::query_scalar("SELECT private_key FROM signing_keys ORDER BY created_at DESC LIMIT 1")
        .fetch_one(&mut *tx)
        .await
        .map_err(KeyError::Database)?;
    tx.commit().await.map_err(KeyError::Database)?;
    SigningKey::from_pkcs8_der(&kept).map_err(|_| KeyError::Stored)
}

/// RFC 7638, with the members that RFC 8037 says.
fn thumbprint(public: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tokens(seed: u8, issuer: &str, lifetime: u64) -> Tokens {
        let config = config::Tokens {
            signing_key: None,
            issuer: issuer.to_owned(),
            lifetime: Duration::from_secs(lifetime),
        };
        Tokens::new(&config, &SigningKey::from_bytes(&[seed; 32]))
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_token_is_valid_where_its_key_and_issuer_are() {
        let user = Uuid::from_u128(7);
        let token = tokens(1, "rollcall", 900).issue(user, Roles::default()).text;
        assert_eq!(tokens(1, "rollcall", 900).verify(&token), Ok(user));
        assert_eq!(tokens(1, "elsewhere", 900).verify(&token), Err(Refused::Invalid));
        assert_eq!(tokens(2, "rollcall", 900).verify(&token), Err(Refused::Invalid));
    }

    #[test]
    fn a_token_of_another_algorithm_or_without_signature_is_refused() {
        let tokens = tokens(1, "rollcall", 900);
        let token = tokens.issue(Uuid::from_u128(7), Roles::default()).text;
        let (head, signature) = token.rsplit_once('.').expect("three parts");
        let claims = head.split_once('.').expect("three parts").1;
        let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "kid": tokens.0.kid }).to_string());
        let hmac = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": tokens.0.kid }).to_string());
        for forged in [
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{hmac}.{claims}.{signature}"),
            format!("{head}."),
            "not.a.token".to_owned(),
            String::new(),
        ] {
            assert_eq!(tokens.verify(&forged), Err(Refused::Invalid), "{forged}");
        }
    }

    #[test]
    fn an_expired_token_is_refused_also_when_it_was_verified_before() {
        let tokens = tokens(1, "rollcall", 0);
        let token = tokens.issue(Uuid::from_u128(7), Roles::default()).text;
        assert!(tokens.verify(&token).is_ok(), "within the leeway");
        let mut verified = tokens.0.verified.write().expect("not poisoned");
        verified
            .values_mut()
            .for_each(|known| known.expires -= LEEWAY_SECONDS + 1);
        drop(verified);
        assert_eq!(tokens.verify(&token), Err(Refused::Expired));
    }
}
