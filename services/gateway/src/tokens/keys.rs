//! The key that signs access tokens, and the keys that verify them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::settings::{self, Settings};

/// The reason why no keys could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the value is not a private key for JWT_ALGORITHM in PKCS#8 PEM")]
    Setting,
    #[error("a signing key in the database is invalid")]
    Stored,
    #[error("cannot read the signing keys from the database")]
    Database(#[from] sqlx::Error),
}

/// A private key and its public key.
#[derive(Clone)]
pub(super) struct Key {
    /// The thumbprint of the public key (RFC 7638).
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) signing: EncodingKey,
    pub(super) verifying: DecodingKey,
    jwk: Value,
}

/// The keys that are in use at one time.
pub(super) struct KeySet {
    signing: Key,
    /// All keys by `kid`, including the one that signs.
    verifying: HashMap<String, Key>,
}

/// Checks that the text holds private keys for this algorithm.
///
/// # Errors
/// Returns [`KeyError::Setting`] if it does not. The configuration is then refused before any connection is opened.
pub(super) fn check(algorithm: settings::Algorithm, pem: &str) -> Result<(), KeyError> {
    parse_all(algorithm, pem).map(drop)
}

impl KeySet {
    pub(super) fn new(signing: Key, others: Vec<Key>) -> Self {
        let keys = others.into_iter().chain([signing.clone()]);
        Self {
            verifying: keys.map(|key| (key.kid.clone(), key)).collect(),
            signing,
        }
    }

    /// Returns the configured keys, or `None` if no key is configured.
    pub(super) fn configured(settings: &Settings) -> Result<Option<Self>, KeyError> {
        let Some(signing) = &settings.signing_key else {
            return Ok(None);
        };
        let signing = parse_all(settings.algorithm, signing.expose())?.swap_remove(0);
        let others = match &settings.other_keys {
            Some(others) => parse_all(settings.algorithm, others.expose())?,
            None => Vec::new(),
        };
        Ok(Some(Self::new(signing, others)))
    }

    pub(super) fn signing(&self) -> &Key {
        &self.signing
    }

    pub(super) fn verifying(&self, kid: &str) -> Option<&Key> {
        self.verifying.get(kid)
    }

    /// Returns the public keys as a JWK set. The signing key comes first.
    pub(super) fn jwk_set(&self) -> Value {
        let mut keys: Vec<&Key> = self.verifying.values().collect();
        keys.sort_by_key(|key| (key.kid != self.signing.kid, &key.kid));
        json!({ "keys": keys.into_iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }
}

impl Key {
    pub(super) fn ed25519(key: &SigningKey) -> Self {
        let private = key.to_pkcs8_der().expect("an Ed25519 key can be encoded");
        let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        let kid = thumbprint(&public);
        Self {
            algorithm: Algorithm::EdDSA,
            signing: EncodingKey::from_ed_der(private.as_bytes()),
            verifying: DecodingKey::from_ed_components(&public).expect("the public key was just encoded"),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": public }),
            kid,
        }
    }

    fn rsa(pem: &str) -> Result<Self, KeyError> {
        let invalid = |_| KeyError::Setting;
        let signing = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(invalid)?;
        let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).map_err(invalid)?;
        let verifying = DecodingKey::from_jwk(&jwk).map_err(invalid)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256);
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(Self {
            kid,
            algorithm: Algorithm::RS256,
            signing,
            verifying,
            jwk: serde_json::to_value(jwk).map_err(|_| KeyError::Setting)?,
        })
    }
}

/// Parses one or more private keys. Fails if the text holds none.
fn parse_all(algorithm: settings::Algorithm, pems: &str) -> Result<Vec<Key>, KeyError> {
    const END: &str = "-----END PRIVATE KEY-----";
    // An environment variable without line breaks holds `\n` in their place.
    let pems = pems.replace("\\n", "\n");
    let keys: Vec<Key> = pems
        .split_inclusive(END)
        .map(str::trim)
        .filter(|pem| !pem.is_empty())
        .map(|pem| match algorithm {
            settings::Algorithm::EdDsa => {
                let key = SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Setting)?;
                Ok(Key::ed25519(&key))
            }
            settings::Algorithm::Rs256 => Key::rsa(pem),
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(KeyError::Setting);
    }
    Ok(keys)
}

/// Returns the thumbprint of an Ed25519 key (RFC 7638, with the members of RFC 8037).
fn thumbprint(public: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, appendix A.3.
        let public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_text_that_is_not_a_key_of_the_algorithm_is_refused() {
        let key = SigningKey::from_bytes(&[1; 32]).to_pkcs8_pem(Default::default());
        let pem = key.expect("the key can be encoded");
        let two = format!("{}\\n{}", pem.replace('\n', "\\n"), *pem);
        assert_eq!(parse_all(settings::Algorithm::EdDsa, &two).expect("two keys").len(), 2);
        assert!(check(settings::Algorithm::Rs256, &pem).is_err());
        for text in ["", "x", &pem[..60], &format!("{}x", *pem)] {
            assert!(check(settings::Algorithm::EdDsa, text).is_err(), "{text}");
        }
    }
}
