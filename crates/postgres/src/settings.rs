use std::num::NonZeroU32;

use chassis::settings::{Reader, Url};

/// The settings of a service's database.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Url,
    /// Maximum number of open connections.
    pub connections: u32,
}

impl Settings {
    /// Reads `DATABASE_URL` and `DATABASE_CONNECTIONS`. `example` is a URL for the documentation, and
    /// `default_connections` the number of connections if the setting is missing.
    pub fn from_settings(read: &mut Reader, example: &str, default_connections: &str) -> Self {
        Self {
            url: read.required("DATABASE_URL", example, "database of this service"),
            connections: read
                .or::<NonZeroU32>(
                    "DATABASE_CONNECTIONS",
                    default_connections,
                    "maximum number of database connections",
                )
                .get(),
        }
    }
}
