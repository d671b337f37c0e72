//! The addresses of the real servers, as `scripts/stack env` prints them.

use anyhow::{Context, Result};

/// Addresses of the stack's servers.
#[derive(Debug, Clone)]
pub struct Servers {
    pub kafka: String,
    pub registry: String,
    pub postgres_admin: String,
    pub mongodb: String,
    pub smtp: String,
    pub maildev: String,
    pub otlp: Option<String>,
    pub jaeger: Option<String>,
    pub prometheus: Option<String>,
    /// The folder that Prometheus reads its targets from.
    pub prometheus_targets: Option<String>,
}

impl Servers {
    /// Reads the addresses from the environment.
    ///
    /// # Errors
    /// Names the missing variable and the command that prints it.
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            kafka: required("KAFKA_BROKERS")?,
            registry: required("SCHEMA_REGISTRY_URL")?,
            postgres_admin: required("POSTGRES_ADMIN_URL")?,
            mongodb: required("MONGODB_URL")?,
            smtp: required("SMTP_URL")?,
            maildev: required("MAILDEV_URL")?,
            otlp: optional("OTEL_EXPORTER_OTLP_ENDPOINT"),
            jaeger: optional("JAEGER_QUERY_URL"),
            prometheus: optional("PROMETHEUS_URL"),
            prometheus_targets: optional("PROMETHEUS_TARGETS"),
        })
    }
}

fn required(name: &str) -> Result<String> {
    optional(name).with_context(|| format!("{name} is not set; run `eval \"$(scripts/stack env)\"` first"))
}

fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
