//! Failures that earlier attempts at a record have revealed. Those attempts were rolled back.

use std::collections::HashMap;

use contracts::aggregate::Rejection;
use uuid::Uuid;

/// Failure of a message in an earlier attempt. The next attempt does not pass the message to the handler again.
#[derive(Debug, Clone)]
pub(crate) enum KnownFailure {
    Poison(String),
    Defer(Rejection),
    Reject(Rejection),
}

/// The known failures of single messages, and the data that the store refused.
#[derive(Debug, Default)]
pub(crate) struct KnownFailures {
    messages: HashMap<Uuid, KnownFailure>,
    /// The offset of the record that the store refused, and the reason.
    record_refusal: Option<(i64, String)>,
    /// The reason why the store refused the record's entry in the log.
    log_refusal: Option<String>,
}

/// Reduction of what the next attempt writes, because the store refused the writes of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The message is dead-lettered or parked, because the store refuses what its handler writes.
    DeadLetter,
    /// A stub replaces the record among the dead letters or the parked records.
    Stub,
    /// A stub replaces the record in the log.
    LogStub,
}

impl KnownFailures {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn insert(&mut self, message: Uuid, failure: KnownFailure) {
        self.messages.insert(message, failure);
    }

    pub(crate) fn get(&self, message: &Uuid) -> Option<&KnownFailure> {
        self.messages.get(message)
    }

    /// Returns the reason why the store refused to keep the record at this offset, if it did.
    pub(crate) fn stub_reason(&self, offset: i64) -> Option<&str> {
        let (refused, reason) = self.record_refusal.as_ref()?;
        (*refused == offset).then_some(reason.as_str())
    }

    /// Returns the reason why the store refused the record's entry in the log, if it did.
    pub(crate) fn log_stub_reason(&self) -> Option<&str> {
        self.log_refusal.as_deref()
    }

    /// Records that the store refused what the single record at `offset` leads to, apart from its entry in the log.
    /// `message` is the id of the record's message, if it has one.
    ///
    /// Each refusal makes the next attempt write less. Returns `None` if it cannot write less.
    pub(crate) fn add_refusal(&mut self, message: Option<Uuid>, offset: i64, reason: &str) -> Option<Fallback> {
        if let Some(id) = message
            && !matches!(self.get(&id), Some(KnownFailure::Poison(_)))
        {
            self.insert(id, KnownFailure::Poison(reason.to_owned()));
            return Some(Fallback::DeadLetter);
        }
        if self.record_refusal.is_none() {
            self.record_refusal = Some((offset, reason.to_owned()));
            return Some(Fallback::Stub);
        }
        None
    }

    /// Records that the store refused the log entry of a single record. Returns `None` if it refused a stub of the record too.
    pub(crate) fn add_log_refusal(&mut self, reason: String) -> Option<Fallback> {
        let is_first = self.log_refusal.is_none();
        self.log_refusal = Some(reason);
        is_first.then_some(Fallback::LogStub)
    }
}
