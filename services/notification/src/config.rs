//! The settings of the service.

use std::num::NonZeroU32;
use std::time::Duration;

use chassis::settings::{Reader, Secret, Url};
use contracts::links;
use messaging::kafka::Lanes;

use crate::server::{Sender, check_url};

/// No client waits for a mail to be queued, and a larger transaction costs less for each message.
const LANES: Lanes = Lanes {
    count: 1,
    pace: Duration::from_millis(20),
};

#[derive(Debug, Clone)]
pub struct Config {
    pub database: Url,
    pub messaging: messaging::Settings,
    pub smtp: Url,
    pub mail_from: Sender,
    pub public_url: Url,
    /// Key that signs the tokens in links sent by e-mail. The gateway must have the same key.
    pub link_key: Secret,
    pub senders: NonZeroU32,
    /// Time for which finished mails and mailings are kept.
    pub mail_retention: Duration,
}

/// Minimum retention of mails. A command of a mailing or a reminder may be handled this late, and a mail that was deleted
/// before would be sent again.
const MIN_MAIL_RETENTION: Duration = Duration::from_secs(10 * 24 * 60 * 60);

impl Config {
    pub fn from_settings(read: &mut Reader) -> Self {
        let config = Self {
            database: read.required(
                "DATABASE_URL",
                "mongodb://127.0.0.1/notification?replicaSet=rs0",
                "the MongoDB database of this service",
            ),
            messaging: messaging::Settings::with_lanes(read, LANES),
            smtp: read.required("SMTP_URL", "smtp://127.0.0.1:1025", "URL of the mail server"),
            mail_from: read.or(
                "MAIL_FROM",
                "Rollcall <rollcall@localhost.localdomain>",
                "sender of all e-mails; its domain is part of every Message-ID",
            ),
            public_url: read.or(
                "PUBLIC_URL",
                "http://127.0.0.1:8080",
                "base URL of the links in e-mails, which lead to the gateway",
            ),
            link_key: read.required(
                "LINK_KEY",
                "32-or-more-random-characters-here",
                "key that signs the tokens in links sent by e-mail; must equal the gateway's",
            ),
            senders: read.or(
                "SENDERS",
                "4",
                "number of e-mails sent concurrently in each of the two mail queues",
            ),
            mail_retention: read.or(
                "MAIL_RETENTION_DAYS",
                "90",
                "time for which mails are kept after they were sent or failed, and mailings after their cause",
            ),
        };
        if config.mail_retention < MIN_MAIL_RETENTION {
            read.problem(
                "MAIL_RETENTION_DAYS",
                "must be at least 10, because a command may be handled that long after it was due",
            );
        }
        if let Err(problem) = check_url(config.smtp.as_str()) {
            read.problem("SMTP_URL", problem);
        }
        if config.link_key.expose().chars().count() < links::MIN_KEY {
            read.problem("LINK_KEY", format!("must have at least {} characters", links::MIN_KEY));
        }
        config
    }
}
