//! The settings of the service, read once at boot.

use chassis::settings::{Reader, Url};
use messaging::kafka;

#[derive(Debug, Clone)]
pub struct Config {
    pub database: postgres::Settings,
    pub registry: Url,
    pub kafka: kafka::Settings,
    pub allowed_email_domains: Vec<String>,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: postgres::Settings::from_settings(read, "postgres://users@127.0.0.1/users", "16"),
            registry: read.required(
                "SCHEMA_REGISTRY_URL",
                "http://127.0.0.1:8081",
                "URL of the schema registry",
            ),
            kafka: kafka::Settings::from_settings(read),
            allowed_email_domains: read.or(
                "ALLOWED_EMAIL_DOMAINS",
                "",
                "allowed domains of e-mail addresses, separated by commas; empty: all domains",
            ),
        }
    }
}
