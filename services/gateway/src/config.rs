//! The settings of the gateway, read once at the start.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use chassis::settings::{Reader, Secret};

use crate::client::Network;
use crate::passwords::{self, Password};
use crate::tokens;

/// The configuration of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    pub database: postgres::Settings,
    pub messaging: messaging::Settings,
    pub listen: SocketAddr,
    pub http: Http,
    /// Secret key of the fingerprints of requests; the same in every gateway process.
    pub fingerprint_key: Secret,
    /// Secret key of the tokens of links sent by e-mail; the same as in the notification service.
    pub link_key: Secret,
    /// Secret key of the ticket codes; the same in every gateway process.
    pub ticket_key: Secret,
    pub limits: Limits,
    pub tokens: tokens::Settings,
    pub passwords: passwords::Settings,
    pub operations: Retention,
    pub bootstrap_admin: Option<BootstrapAdmin>,
}

/// The settings of the public API.
#[derive(Debug, Clone)]
pub struct Http {
    /// Origins whose pages may call the API; `*` for all origins.
    pub cors_origins: Vec<String>,
    pub request_timeout: Duration,
    /// `max-age` of `Strict-Transport-Security`. The header is not sent if it is zero.
    pub hsts: Duration,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// Maximum number of open connections.
    pub connections: NonZeroUsize,
    /// Maximum number of open connections of one client address, or `None` for half of `connections`. Trusted proxies have no
    /// maximum.
    pub connections_per_address: Option<NonZeroUsize>,
}

/// Maximum numbers of requests per minute; 0 for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    pub anonymous: u32,
    pub writes: u32,
    pub check_ins: u32,
    pub sign_ins: u32,
    pub account: u32,
}

/// How long Idempotency-Keys and operations are stored.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub idempotency_keys: Duration,
    pub operations: Duration,
}

/// The first admin, who is created if no admin exists.
#[derive(Debug, Clone)]
pub struct BootstrapAdmin {
    pub email: String,
    pub username: String,
    pub password: Password,
}

/// Minimum length of a secret key, in bytes. With a key that can be guessed, an attacker could search for the passwords in
/// fingerprinted bodies, or forge tokens and ticket codes.
const MIN_KEY_LENGTH: usize = contracts::links::MIN_KEY;

impl Config {
    /// Reads the configuration. `read` collects the problems of all settings.
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: postgres::Settings::from_settings(read, "postgres://gateway@127.0.0.1/gateway", "20"),
            messaging: messaging::Settings::from_settings(read),
            listen: read.or("LISTEN", "127.0.0.1:8080", "address and port of the public API"),
            http: Http {
                cors_origins: read.or(
                    "CORS_ALLOWED_ORIGINS",
                    "",
                    "origins whose pages may call the API; * for all origins",
                ),
                request_timeout: read.or("REQUEST_TIMEOUT_SECONDS", "30", "maximum duration of a request"),
                hsts: read.or(
                    "HSTS_SECONDS",
                    "31536000",
                    "how long browsers must use HTTPS (Strict-Transport-Security); 0 if the API has no HTTPS",
                ),
                trusted_proxies: read.or(
                    "TRUSTED_PROXIES",
                    "",
                    "networks of the proxies whose X-Forwarded-For is trusted",
                ),
                connections: read.or("HTTP_CONNECTIONS", "800", "maximum number of open client connections"),
                connections_per_address: read.optional(
                    "HTTP_CONNECTIONS_PER_ADDRESS",
                    "400",
                    "maximum number of open connections of one client address, except trusted proxies; default: half of HTTP_CONNECTIONS",
                ),
            },
            fingerprint_key: key(
                read,
                "FINGERPRINT_KEY",
                "secret key of the fingerprints of requests with an Idempotency-Key; the same in every process",
            ),
            link_key: key(
                read,
                "LINK_KEY",
                "secret key of the tokens of links sent by e-mail; the same in every process and in the notification service",
            ),
            ticket_key: key(
                read,
                "TICKET_KEY",
                "secret key of the ticket codes; the same in every process",
            ),
            limits: limits(read),
            tokens: tokens::Settings::from_settings(read),
            passwords: passwords::Settings::from_settings(read),
                        operations: Retention {
                idempotency_keys: read.or("IDEMPOTENCY_KEY_HOURS", "24", "how long an Idempotency-Key is stored"),
                operations: read.or("OPERATIONS_DAYS", "30", "how long operations are stored"),
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
            "maximum number of anonymous requests per minute from one address; 0 for no limit (all RATE_LIMIT settings)",
        ),
        writes: read.or("RATE_LIMIT_WRITES", "100", "maximum number of writes per minute by one user"),
        check_ins: read.or("RATE_LIMIT_CHECK_INS", "1000", "maximum number of check-ins per minute by one user"),
        sign_ins: read.or(
            "RATE_LIMIT_SIGN_INS",
            "10",
            "maximum number of sign-ins, sign-ups and password changes per minute from one address",
        ),
        account: read.or(
            "RATE_LIMIT_ACCOUNT",
            "5",
            "maximum number of sign-ins and links sent by e-mail per minute for one account, from any address",
        ),
    }
}

fn key(read: &mut Reader, name: &'static str, purpose: &'static str) -> Secret {
    let key: Secret = read.required(name, "32-or-more-random-characters-here", purpose);
    if key.expose().len() < MIN_KEY_LENGTH {
        read.problem(name, format_args!("must have at least {MIN_KEY_LENGTH} characters"));
    }
    key
}

fn bootstrap_admin(read: &mut Reader) -> Option<BootstrapAdmin> {
    const EMAIL: &str = "GATEWAY_BOOTSTRAP_ADMIN_EMAIL";
    const PASSWORD: &str = "GATEWAY_BOOTSTRAP_ADMIN_PASSWORD";
    let email: Option<String> = read.optional(
        EMAIL,
        "admin@example.org",
        "e-mail address of the first admin, who is created if no admin exists",
    );
    let username = read.or(
        "GATEWAY_BOOTSTRAP_ADMIN_USERNAME",
        "admin",
        "username of the first admin",
    );
    let password: Option<Secret> = read.optional(PASSWORD, "a-long-passphrase-of-yours", "password of the first admin");
    let (email, password) = match (email, password) {
        (Some(email), Some(password)) => (email, password),
        (None, None) => return None,
        (Some(_), None) => {
            read.problem(PASSWORD, "is not set, but GATEWAY_BOOTSTRAP_ADMIN_EMAIL is set");
            return None;
        }
        (None, Some(_)) => {
            read.problem(EMAIL, "is not set, but GATEWAY_BOOTSTRAP_ADMIN_PASSWORD is set");
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
            read.problem(PASSWORD, format_args!("is not allowed: {}", fault.message()));
            None
        }
    }
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
    fn six_settings_are_sufficient() {
        let config = read(&[]).expect("valid");
        assert_eq!(config.messaging.kafka.brokers, "one:9092,two:9092");
        assert_eq!(config.tokens.lifetime, Duration::from_secs(15 * 60));
        assert!(config.bootstrap_admin.is_none());
    }

    #[test]
    fn every_invalid_setting_is_named() {
        let error = read(&[
            ("FINGERPRINT_KEY", "short"),
            ("KAFKA_GROUP_PROTOCOL", "carrier-pigeon"),
            ("GATEWAY_BOOTSTRAP_ADMIN_EMAIL", "admin@example.org"),
        ]);
        let names: Vec<_> = error.expect_err("three settings are invalid").names().collect();
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
    fn the_password_of_the_first_admin_must_satisfy_the_rules() {
        let admin = |password| {
            read(&[
                ("GATEWAY_BOOTSTRAP_ADMIN_EMAIL", "admin@example.org"),
                ("GATEWAY_BOOTSTRAP_ADMIN_PASSWORD", password),
            ])
        };
        let error = admin("password1234").expect_err("the password is too common");
        assert_eq!(error.names().collect::<Vec<_>>(), ["GATEWAY_BOOTSTRAP_ADMIN_PASSWORD"]);
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
