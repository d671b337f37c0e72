//! The settings, read once.

use chassis::settings::{Reader, Url};
use messaging::kafka;

/// What the service is told by its environment.
#[derive(Debug)]
pub struct Config {
    pub database: Url,
    pub connections: u32,
    pub kafka: kafka::Settings,
    pub registry: Url,
    pub allowed_email_domains: Vec<String>,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: read.required(
                "DATABASE_URL",
                "postgres://users@127.0.0.1/users",
                "this service's own database",
            ),
            connections: read.or("DATABASE_CONNECTIONS", "10", "connections to the database, at most"),
            kafka: kafka::Settings::from_settings(read),
            registry: read.required(
                "SCHEMA_REGISTRY_URL",
                "http://127.0.0.1:8081/apis/ccompat/v7",
                "where the schema registry's Confluent API is",
            ),
            allowed_email_domains: read.or(
                "ALLOWED_EMAIL_DOMAINS",
                "",
                "e-mails must be of one of these domains; empty: of any",
            ),
        }
    }
}
