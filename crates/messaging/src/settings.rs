use chassis::settings::{Reader, Url};

use crate::kafka::{self, Lanes};

/// The settings of a service's messaging: the schema registry and Kafka.
#[derive(Debug, Clone)]
pub struct Settings {
    pub registry: Url,
    pub kafka: kafka::Settings,
}

impl Settings {
    /// Reads `SCHEMA_REGISTRY_URL` and the settings of Kafka.
    pub fn from_settings(read: &mut Reader) -> Self {
        Self::with_lanes(read, Lanes::default())
    }

    /// Reads the same settings, with the lanes of a service for which no client waits.
    pub fn with_lanes(read: &mut Reader, lanes: Lanes) -> Self {
        Self {
            registry: read.required(
                "SCHEMA_REGISTRY_URL",
                "http://127.0.0.1:8081/apis/ccompat/v7",
                "URL of the schema registry's Confluent API",
            ),
            kafka: kafka::Settings::from_settings(read, lanes),
        }
    }
}
