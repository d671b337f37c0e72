//! The settings, read once.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use chassis::settings::{Reader, Secret, Url, Value};
use messaging::kafka;

use crate::client::Network;
use crate::memory;
use crate::passwords::{HASHER_BYTES, Password};

/// What the gateway needs to know to run.
#[derive(Debug, Clone)]
pub struct Config {
    pub database: Url,
    pub connections: u32,
    pub kafka: kafka::Settings,
    pub registry: Url,
    pub listen: SocketAddr,
    pub http: Http,
    /// Keys the fingerprints of requests; the same in every gateway process.
    pub fingerprint_key: Secret,
    /// Keys the tokens of mailed links; the notification service has the same.
    pub link_key: Secret,
    /// Keys the codes of tickets; the same in every gateway process.
    pub ticket_key: Secret,
    pub limits: Limits,
    pub tokens: Tokens,
    pub passwords: Passwords,
    pub operations: Retention,
    pub bootstrap_admin: Option<BootstrapAdmin>,
}

#[derive(Debug, Clone)]
pub struct Http {
    /// Origins whose pages may call the API; `*` for all.
    pub cors_origins: Vec<String>,
    pub request_timeout: Duration,
    /// Of `Strict-Transport-Security`; zero: it is not sent.
    pub hsts: Duration,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// Maximum number of open connections.
    pub connections: NonZeroUsize,
    /// Maximum number of open connections of one client address; trusted proxies have none. `None`: half of all.
    pub connections_per_address: Option<NonZeroUsize>,
}

/// Requests a minute; 0: as many as come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub anonymous: u32,
    pub writes: u32,
    pub check_ins: u32,
    pub sign_ins: u32,
    pub account: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Tokens {
    pub algorithm: Algorithm,
    /// PKCS#8 PEM; without it, keys are made and kept in the database.
    pub signing_key: Option<Secret>,
    /// Keys that are published and believed too: the one before, or the next.
    pub other_keys: Option<Secret>,
    /// How old a key in the database becomes before there is a new one.
    pub key_age: Duration,
    pub issuer: String,
    pub lifetime: Duration,
    /// Of a refresh token.
    pub refresh_lifetime: Duration,
}

/// What access tokens are signed with.
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

#[derive(Debug, Clone, Copy)]
pub struct Passwords {
    /// Passwords that are hashed at once.
    pub hashers: usize,
    /// Passwords that wait for a hasher; more are refused.
    pub queue: usize,
}

/// How long operations are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub idempotency_keys: Duration,
    pub operations: Duration,
}

/// The first admin, made where there is none.
#[derive(Debug, Clone)]
pub struct BootstrapAdmin {
    pub email: String,
    pub username: String,
    pub password: Password,
}

/// Shorter keys could be guessed, and with them the passwords in the fingerprinted bodies, tokens, tickets.
const SHORTEST_KEY: usize = contracts::links::MIN_KEY;

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: read.required(
                "DATABASE_URL",
                "postgres://gateway@127.0.0.1/gateway",
                "the gateway's own database",
            ),
            connections: read
                .or::<NonZeroU32>("DATABASE_CONNECTIONS", "20", "most connections to the database")
                .get(),
            kafka: kafka::Settings::from_settings(read),
            registry: read.required(
                "SCHEMA_REGISTRY_URL",
                "http://127.0.0.1:8081/apis/ccompat/v7",
                "the schema registry's Confluent API",
            ),
            listen: read.or("LISTEN", "127.0.0.1:8080", "where the public API is served"),
            http: Http {
                cors_origins: read.or(
                    "CORS_ALLOWED_ORIGINS",
                    "",
                    "origins whose pages may call the API; * for all",
                ),
                request_timeout: read.or("REQUEST_TIMEOUT_SECONDS", "30", "how long a request may take"),
                hsts: read.or(
                    "HSTS_SECONDS",
                    "31536000",
                    "how long browsers insist on HTTPS; 0 where there is none",
                ),
                trusted_proxies: read.or(
                    "TRUSTED_PROXIES",
                    "",
                    "networks whose X-Forwarded-For says where a request comes from",
                ),
                connections: read.or("HTTP_CONNECTIONS", "800", "maximum number of open client connections"),
                connections_per_address: read.optional(
                    "HTTP_CONNECTIONS_PER_ADDRESS",
                    "400",
                    "maximum number of open connections of one client address, except trusted proxies; else half of all",
                ),
            },
            fingerprint_key: key(
                read,
                "FINGERPRINT_KEY",
                "keys the fingerprints of requests with an Idempotency-Key; the same in every process",
            ),
            link_key: key(
                read,
                "LINK_KEY",
                "keys the tokens of mailed links; the same in every process, and at the notification service",
            ),
            ticket_key: key(
                read,
                "TICKET_KEY",
                "keys the codes of tickets; the same in every process",
            ),
            limits: limits(read),
            tokens: tokens(read),
            passwords: Passwords {
                hashers: read
                    .optional::<NonZeroUsize>(
                        "PASSWORD_HASHERS",
                        "1",
                        "passwords hashed at once; else half of the cores, in at most a quarter of the memory",
                    )
                    .map_or_else(hashers, NonZeroUsize::get),
                queue: read.or(
                    "PASSWORD_QUEUE",
                    "16",
                    "passwords that wait for a hasher; more are answered 503",
                ),
            },
            operations: Retention {
                idempotency_keys: read.or("IDEMPOTENCY_KEY_HOURS", "24", "how long an Idempotency-Key is known"),
                operations: read.or("OPERATIONS_DAYS", "30", "how long operations are kept"),
            },
            bootstrap_admin: bootstrap_admin(read),
        }
    }
}

fn limits(read: &mut Reader) -> Limits {
    Limits {
        anonymous: read.or(
            "RATE_LIMIT_ANONYMOUS",
            "1000",
            "requests a minute from one address that nobody is signed in for; 0 for any number, here and below",
        ),
        writes: read.or("RATE_LIMIT_WRITES", "100", "writes a minute of one user"),
        check_ins: read.or("RATE_LIMIT_CHECK_INS", "1000", "check-ins a minute of one user"),
        sign_ins: read.or(
            "RATE_LIMIT_SIGN_INS",
            "10",
            "sign-ins, sign-ups and new passwords a minute from one address",
        ),
        account: read.or(
            "RATE_LIMIT_ACCOUNT",
            "5",
            "sign-ins and mailed links a minute for one account, wherever they come from",
        ),
    }
}

fn tokens(read: &mut Reader) -> Tokens {
    let algorithm = read.or("JWT_ALGORITHM", "EdDSA", "EdDSA, or RS256 with a JWT_SIGNING_KEY");
    let signing_key = private_keys(
        read,
        "JWT_SIGNING_KEY",
        algorithm,
        "private key (PKCS#8 PEM) that signs access tokens; else keys are made and kept in the database",
    );
    let other_keys = private_keys(
        read,
        "JWT_OTHER_KEYS",
        algorithm,
        "private keys whose access tokens are believed too: the one before, or the next",
    );
    if algorithm == Algorithm::Rs256 && signing_key.is_none() {
        read.problem("JWT_SIGNING_KEY", "is not set, and keys of RS256 are not made here");
    }
    if other_keys.is_some() && signing_key.is_none() {
        read.problem("JWT_OTHER_KEYS", "is set, but JWT_SIGNING_KEY is not");
    }
    Tokens {
        algorithm,
        signing_key,
        other_keys,
        key_age: read.or(
            "JWT_KEY_DAYS",
            "90",
            "how old a key in the database becomes before a new one is made",
        ),
        issuer: read.or("JWT_ISSUER", "rollcall", "`iss` and `aud` of access tokens"),
        lifetime: read.or("ACCESS_TOKEN_MINUTES", "15", "how long an access token is valid"),
        refresh_lifetime: read.or("REFRESH_TOKEN_DAYS", "30", "how long a refresh token is valid"),
    }
}

fn private_keys(read: &mut Reader, name: &'static str, algorithm: Algorithm, purpose: &'static str) -> Option<Secret> {
    let key: Secret = read.optional(name, "-----BEGIN PRIVATE KEY----- …", purpose)?;
    if let Err(error) = crate::tokens::check(algorithm, key.expose()) {
        read.problem(name, format_args!("can't be used: {error}"));
    }
    Some(key)
}

fn key(read: &mut Reader, name: &'static str, purpose: &'static str) -> Secret {
    let key: Secret = read.required(name, "32-or-more-random-characters-here", purpose);
    if key.expose().len() < SHORTEST_KEY {
        read.problem(name, "must have at least 32 characters");
    }
    key
}

fn bootstrap_admin(read: &mut Reader) -> Option<BootstrapAdmin> {
    const EMAIL: &str = "GATEWAY_BOOTSTRAP_ADMIN_EMAIL";
    const PASSWORD: &str = "GATEWAY_BOOTSTRAP_ADMIN_PASSWORD";
    let email: Option<String> = read.optional(EMAIL, "admin@example.org", "the first admin, made where there is none");
    let username = read.or(
        "GATEWAY_BOOTSTRAP_ADMIN_USERNAME",
        "admin",
        "the first admin's username",
    );
    let password: Option<Secret> = read.optional(PASSWORD, "a-long-passphrase-of-yours", "the first admin's password");
    let (email, password) = match (email, password) {
        (Some(email), Some(password)) => (email, password),
        (None, None) => return None,
        (Some(_), None) => {
            read.problem(PASSWORD, "is not set, but GATEWAY_BOOTSTRAP_ADMIN_EMAIL is");
            return None;
        }
        (None, Some(_)) => {
            read.problem(EMAIL, "is not set, but GATEWAY_BOOTSTRAP_ADMIN_PASSWORD is");
            return None;
        }
    };
    match Password::new(password.expose().to_owned()) {
        Ok(password) => Some(BootstrapAdmin {
            email,
            username,
            password,
        }),
        Err(fault) => {
            read.problem(PASSWORD, format_args!("can't be used: {}", fault.message()));
            None
        }
    }
}

fn hashers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    hashers_for(cores, memory::limit())
}

/// Half of the cores, so that the other routes have the rest. In at most a quarter of the memory, because each hasher
/// keeps its own.
fn hashers_for(cores: usize, memory: Option<u64>) -> usize {
    let by_memory = memory.map_or(u64::MAX, |bytes| bytes / 4 / HASHER_BYTES);
    let by_memory = usize::try_from(by_memory).unwrap_or(usize::MAX);
    (cores / 2).min(by_memory).max(1)
}

#[cfg(test)]
mod tests {
    use chassis::settings::{self, Settings};

    use super::*;

    const NEEDED: [(&str, &str); 6] = [
        ("DATABASE_URL", "postgres://gateway@db/gateway"),
        ("KAFKA_BROKERS", "one:9092,two:9092"),
        ("SCHEMA_REGISTRY_URL", "http://registry/apis/ccompat/v7"),
        ("FINGERPRINT_KEY", "0123456789abcdef0123456789abcdef"),
        ("LINK_KEY", "0123456789abcdef0123456789abcdef"),
        ("TICKET_KEY", "0123456789abcdef0123456789abcdef"),
    ];

    fn read(more: &[(&'static str, &'static str)]) -> Result<Config, settings::Error> {
        Settings::from_map(NEEDED.iter().chain(more).copied()).read(Config::from_settings)
    }

    #[test]
    fn six_settings_are_enough() {
        let config = read(&[]).expect("valid");
        assert_eq!(config.kafka.brokers, "one:9092,two:9092");
        assert_eq!(config.tokens.lifetime, Duration::from_secs(15 * 60));
        assert!(config.bootstrap_admin.is_none());
    }

    #[test]
    fn hashers_have_half_of_the_cores_and_a_quarter_of_the_memory() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(hashers_for(8, None), 4);
        assert_eq!(hashers_for(8, Some(1024 * MIB)), 4);
        assert_eq!(hashers_for(64, Some(256 * MIB)), 3);
        assert_eq!(hashers_for(2, Some(256 * MIB)), 1);
        assert_eq!(hashers_for(8, Some(16 * MIB)), 1);
        assert_eq!(hashers_for(1, None), 1);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let wrong = read(&[
            ("FINGERPRINT_KEY", "short"),
            ("KAFKA_GROUP_PROTOCOL", "carrier-pigeon"),
            ("GATEWAY_BOOTSTRAP_ADMIN_EMAIL", "admin@example.org"),
        ]);
        let names: Vec<_> = wrong.expect_err("three are wrong").names().collect();
        assert_eq!(
            names,
            [
                "KAFKA_GROUP_PROTOCOL",
                "FINGERPRINT_KEY",
                "GATEWAY_BOOTSTRAP_ADMIN_PASSWORD"
            ]
        );
    }

    #[test]
    fn the_first_admin_needs_a_good_password_too() {
        let admin = |password| {
            read(&[
                ("GATEWAY_BOOTSTRAP_ADMIN_EMAIL", "admin@example.org"),
                ("GATEWAY_BOOTSTRAP_ADMIN_PASSWORD", password),
            ])
        };
        let wrong = admin("password1234").expect_err("too common");
        assert_eq!(wrong.names().collect::<Vec<_>>(), ["GATEWAY_BOOTSTRAP_ADMIN_PASSWORD"]);
        assert!(admin("correct horse battery").expect("valid").bootstrap_admin.is_some());
    }

    #[test]
    fn the_readme_lists_every_setting() {
        let readme = include_str!("../README.md");
        for setting in settings::describe(Config::from_settings) {
            let row = format!("| `{}` |", setting.name);
            assert!(readme.contains(&row), "README.md has no row {row}");
        }
    }
}
