use std::time::Duration;

use chassis::settings::{Reader, Secret, Value};

use super::keys;

/// The settings of access and refresh tokens.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub algorithm: Algorithm,
    /// Private key in PKCS#8 PEM. Without it, the gateway creates keys and stores them in the database.
    pub signing_key: Option<Secret>,
    /// Further keys that are published and whose tokens are accepted: the previous or the next key.
    pub other_keys: Option<Secret>,
    /// Age of the newest key in the database at which a new key is created.
    pub key_age: Duration,
    pub issuer: String,
    /// Lifetime of an access token.
    pub lifetime: Duration,
    /// Lifetime of a refresh token.
    pub refresh_lifetime: Duration,
}

/// The signature algorithm of access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    #[default]
    EdDsa,
    Rs256,
}

impl Value for Algorithm {
    fn parse(_: &str, text: &str) -> Result<Self, String> {
        match text {
            "EdDSA" => Ok(Self::EdDsa),
            "RS256" => Ok(Self::Rs256),
            _ => Err("must be EdDSA or RS256".to_owned()),
        }
    }
}

impl Settings {
    /// Reads the settings. Keys that do not fit the algorithm are a problem.
    pub fn from_settings(read: &mut Reader) -> Self {
        let algorithm = read.or(
            "JWT_ALGORITHM",
            "EdDSA",
            "signature algorithm of access tokens: EdDSA, or RS256, which requires JWT_SIGNING_KEY",
        );
        let signing_key = private_keys(
            read,
            "JWT_SIGNING_KEY",
            algorithm,
            "private key (PKCS#8 PEM) that signs access tokens; default: keys are created and stored in the database",
        );
        let other_keys = private_keys(
            read,
            "JWT_OTHER_KEYS",
            algorithm,
            "further private keys whose access tokens are accepted: the previous or the next key",
        );
        if algorithm == Algorithm::Rs256 && signing_key.is_none() {
            read.problem(
                "JWT_SIGNING_KEY",
                "is required for RS256, because the gateway creates only EdDSA keys",
            );
        }
        if other_keys.is_some() && signing_key.is_none() {
            read.problem("JWT_OTHER_KEYS", "is set, but JWT_SIGNING_KEY is not set");
        }
        Self {
            algorithm,
            signing_key,
            other_keys,
            key_age: read.or(
                "JWT_KEY_DAYS",
                "90",
                "age of the newest key in the database at which a new key is created",
            ),
            issuer: read.or("JWT_ISSUER", "rollcall", "`iss` and `aud` of access tokens"),
            lifetime: read.or("ACCESS_TOKEN_MINUTES", "15", "lifetime of an access token"),
            refresh_lifetime: read.or("REFRESH_TOKEN_DAYS", "30", "lifetime of a refresh token"),
        }
    }
}

fn private_keys(read: &mut Reader, name: &'static str, algorithm: Algorithm, purpose: &'static str) -> Option<Secret> {
    let key: Secret = read.optional(name, "-----BEGIN PRIVATE KEY----- …", purpose)?;
    if let Err(error) = keys::check(algorithm, key.expose()) {
        read.problem(name, format_args!("is not valid: {error}"));
    }
    Some(key)
}
