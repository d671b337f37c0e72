//! The settings of the service.

use std::time::Duration;

use chassis::settings::{Reader, Secret, Url};
use messaging::kafka::Lanes;

/// No client waits for a record to be logged, and a larger transaction costs less for each record.
const LANES: Lanes = Lanes {
    count: 1,
    pace: Duration::from_millis(50),
};

#[derive(Debug, Clone)]
pub struct Config {
    pub database: Url,
    pub messaging: messaging::Settings,
    /// PKCS#8 PEM of an Ed25519 key. If `None`, a key is generated and kept in the store.
    pub signing_key: Option<Secret>,
    pub checkpoint_every: Duration,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        let config = Self {
            database: read.required(
                "DATABASE_URL",
                "mongodb://127.0.0.1/audit?replicaSet=rs0",
                "the MongoDB database of this service",
            ),
            messaging: messaging::Settings::with_lanes(read, LANES),
            signing_key: read.optional(
                "AUDIT_SIGNING_KEY",
                "-----BEGIN PRIVATE KEY-----\\n…",
                "Ed25519 key (PKCS#8 PEM) that signs checkpoints; if unset, a key is generated and kept in the store",
            ),
            checkpoint_every: read.or(
                "CHECKPOINT_SECONDS",
                "60",
                "minimum time between two signed checkpoints",
            ),
        };
        if config.checkpoint_every.is_zero() {
            read.problem("CHECKPOINT_SECONDS", "must be at least 1");
        }
        config
    }
}
