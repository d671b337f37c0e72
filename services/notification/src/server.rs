//! The interface to mail servers. The service sends by SMTP; tests use a server that records e-mails.

mod smtp;

use std::future::Future;

use crate::templates::RenderedMail;

pub use smtp::{Sender, Smtp, check_url};

/// A mail server.
pub trait MailServer: Send + Sync + 'static {
    /// Sends an e-mail and returns when the server has accepted it.
    ///
    /// The same e-mail may be sent more than once, always with the same Message-ID.
    fn send(&self, mail: &RenderedMail) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// The reason why an e-mail was not sent.
///
/// The messages contain no address and none of the server's own text, because servers quote the recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The server rejected this e-mail permanently.
    #[error("{0}")]
    Permanent(String),
    /// The server rejected this e-mail temporarily.
    #[error("{0}")]
    Temporary(String),
    /// The server is unreachable or accepts no e-mail at all.
    #[error("{0}")]
    Unreachable(String),
}
