//! The settings of the service, read once at boot.

use chassis::settings::Reader;

#[derive(Debug, Clone)]
pub struct Config {
    pub database: postgres::Settings,
    pub messaging: messaging::Settings,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: postgres::Settings::from_settings(read, "postgres://registrations@127.0.0.1/registrations", "16"),
            messaging: messaging::Settings::from_settings(read),
        }
    }
}
