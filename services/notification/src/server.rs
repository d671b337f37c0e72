//! Mail servers: one that speaks SMTP, and in tests one that records.

mod smtp;

use std::future::Future;

use crate::letter::Letter;

pub use smtp::{Sender, Smtp, check_url};

/// Takes letters.
pub trait MailServer: Send + Sync + 'static {
    /// Returns when the server has taken the letter. The same letter may come again: its Message-ID stays.
    fn send(&self, letter: &Letter) -> impl Future<Output = Result<(), NotSent>> + Send;
}

/// Why a letter was not taken. The texts hold no address and nothing the server said in words: servers
/// quote the recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It will never be.
    #[error("{0}")]
    Refused(String),
    /// Not now; this letter.
    #[error("{0}")]
    Later(String),
    /// Not now; any letter.
    #[error("{0}")]
    Unreachable(String),
}
