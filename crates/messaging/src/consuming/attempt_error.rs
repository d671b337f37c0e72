//! The reason why a transaction of a lane was rolled back.

use chassis::error_chain;
use uuid::Uuid;

use crate::consuming::handler::Failure;
use crate::ledger::{StoreError, StoreErrorKind};
use crate::publishing::publisher::AppendError;
use crate::wire::envelope::Envelope;

/// The reason why an attempt was rolled back.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// A stored position is not the one that this lane knows.
    PositionMismatch,
    /// The transaction did not end within its time limit.
    TimedOut,
    /// Several records together append more than one transaction may.
    TooLarge,
    /// A handler or a statement of the pipeline failed. `message` is the id of the message that caused the failure, if it
    /// is known.
    Handler { message: Option<Uuid>, failure: Failure },
    /// The log handler of a topic failed.
    Log(Failure),
    /// The store refused the commit.
    Commit(Failure),
}

impl AttemptError {
    /// Converts the error of a statement that contains no data of a message, so that no message can have caused it.
    pub(crate) fn of_bookkeeping(mut error: StoreError) -> Self {
        if error.kind == StoreErrorKind::Broken {
            error.kind = StoreErrorKind::Unexpected;
        }
        error.into()
    }

    /// Attributes an error in publishing to the message that led to it.
    pub(crate) fn of_message(message: &Envelope, error: AppendError) -> Self {
        Self::Handler {
            message: Some(message.id),
            failure: error.into(),
        }
    }
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> Self {
        Self::Handler {
            message: None,
            failure: error.into(),
        }
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Handler { message: None, failure }
    }
}

impl From<AppendError> for AttemptError {
    fn from(error: AppendError) -> Self {
        Self::Handler {
            message: None,
            failure: error.into(),
        }
    }
}

/// Returns the cause of a failure as text, without the introduction of [`Failure::Poison`].
pub(crate) fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Poison(error) => error_chain(error.as_ref()),
        other => error_chain(other),
    }
}
