//! The settings of the service, read once at boot.

use chassis::settings::Reader;

#[derive(Debug, Clone)]
pub struct Config {
    pub database: postgres::Settings,
    pub messaging: messaging::Settings,
    pub allowed_email_domains: Vec<String>,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            database: postgres::Settings::from_settings(read, "postgres://users@127.0.0.1/users", "16"),
            messaging: messaging::Settings::from_settings(read),
            allowed_email_domains: read.or(
                "ALLOWED_EMAIL_DOMAINS",
                "",
                "allowed domains of e-mail addresses, separated by commas; empty: all domains",
            ),
        }
    }
}
