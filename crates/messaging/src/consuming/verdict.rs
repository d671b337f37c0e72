//! What is known about a record from earlier attempts, which were rolled back.

use std::collections::HashMap;

use contracts::aggregate::Rejection;
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    Poison(String),
    Defer(Rejection),
    Reject(Rejection),
}

/// What is known about single messages, and what the store refuses to keep.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    messages: HashMap<Uuid, Verdict>,
    /// Its offset, and why.
    record_refused: Option<(i64, String)>,
    log_refused: Option<String>,
}

/// What the next attempt does otherwise, because the store refused the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// The message is given up: what its handler writes is refused.
    GiveUp,
    /// A stub takes the record's place among dead letters and parked records.
    Stub,
    /// A stub takes the record's place in the log.
    LogStub,
}

impl Verdicts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn insert(&mut self, message: Uuid, verdict: Verdict) {
        self.messages.insert(message, verdict);
    }

    pub(crate) fn get(&self, message: &Uuid) -> Option<&Verdict> {
        self.messages.get(message)
    }

    /// Why the store refuses to keep the record at this offset, if it does.
    pub(crate) fn record_refused(&self, offset: i64) -> Option<&str> {
        let (refused, reason) = self.record_refused.as_ref()?;
        (*refused == offset).then_some(reason.as_str())
    }

    /// Why the log refuses the record, if it does.
    pub(crate) fn log_refused(&self) -> Option<&str> {
        self.log_refused.as_deref()
    }

    /// Takes in that the store refused what a single record, at `offset`, leads to besides its entry in the log. `message`
    /// is the record's message, if it has one.
    ///
    /// Each refusal asks less of the store. Returns `None` where nothing less is left.
    pub(crate) fn refused(&mut self, message: Option<Uuid>, offset: i64, reason: &str) -> Option<Otherwise> {
        if let Some(id) = message
            && !matches!(self.get(&id), Some(Verdict::Poison(_)))
        {
            self.insert(id, Verdict::Poison(reason.to_owned()));
            return Some(Otherwise::GiveUp);
        }
        if self.record_refused.is_none() {
            self.record_refused = Some((offset, reason.to_owned()));
            return Some(Otherwise::Stub);
        }
        None
    }

    /// Takes in that the log refused a single record. Returns `None` where the log refused a stub of it too.
    pub(crate) fn refused_by_the_log(&mut self, reason: String) -> Option<Otherwise> {
        let is_first = self.log_refused.is_none();
        self.log_refused = Some(reason);
        is_first.then_some(Otherwise::LogStub)
    }
}
