//! What the service reads from its environment.

use std::num::NonZeroU32;

use chassis::settings::{Reader, Secret, Url};
use contracts::links;
use messaging::kafka;

use crate::server::{Sender, check_url};

#[derive(Debug, Clone)]
pub struct Config {
    pub database: Url,
    pub registry: Url,
    pub kafka: kafka::Settings,
    pub smtp: Url,
    pub mail_from: Sender,
    pub public_url: Url,
    /// Signs the tokens in mailed links; the gateway has the same.
    pub link_key: Secret,
    pub senders: NonZeroU32,
}

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        let config = Self {
            database: read.required(
                "DATABASE_URL",
                "mongodb://127.0.0.1/notification?replicaSet=rs0",
                "this service's own database",
            ),
            registry: read.required(
                "SCHEMA_REGISTRY_URL",
                "http://127.0.0.1:8081",
                "where the schema registry is",
            ),
            kafka: kafka::Settings::from_settings(read),
            smtp: read.required("SMTP_URL", "smtp://127.0.0.1:1025", "the server that takes mails"),
            mail_from: read.or(
                "MAIL_FROM",
                "Rollcall <rollcall@localhost.localdomain>",
                "who mails come from; its domain is in every Message-ID",
            ),
            public_url: read.or(
                "PUBLIC_URL",
                "http://127.0.0.1:8080",
                "where links in mails lead: the gateway",
            ),
            link_key: read.required(
                "LINK_KEY",
                "32-or-more-random-characters-here",
                "signs the tokens in mailed links; the gateway's is the same",
            ),
            senders: read.or("SENDERS", "4", "mails sent at a time, in each of the two lanes"),
        };
        if let Err(what) = check_url(config.smtp.as_str()) {
            read.problem("SMTP_URL", what);
        }
        if config.link_key.expose().chars().count() < links::MIN_KEY {
            read.problem("LINK_KEY", format!("must have at least {} characters", links::MIN_KEY));
        }
        config
    }
}
