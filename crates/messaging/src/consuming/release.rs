//! Releases a parked key: applies its parked messages in order, to this service only.

use std::time::Duration;

use chassis::error_chain;

use crate::backoff::LONGEST;
use crate::consuming::attempt_error::AttemptError;
use crate::consuming::handler::Failure;
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::subscription::Subscription;
use crate::consuming::transaction::{Granularity, Handlers, Transaction};
use crate::ledger::{Ledger, TopicKey};
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

const ATTEMPTS: usize = 20;

/// The reason why a key was not released, or not completely. The release can be repeated.
#[derive(Debug, thiserror::Error)]
#[error("the key was not released: {0}")]
pub struct Error(String);

/// The result of a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Released {
    /// Number of messages that were applied.
    pub applied: usize,
    /// The sequence of the next message that cannot be applied, if there is one.
    pub poisoned_at: Option<i64>,
}

/// Releases a key, in several transactions if many messages are parked.
///
/// Each transaction first locks the partition's position row, so that the release and the partition's lane take turns. The
/// release stops at the next poison message, and the key stays parked from there. Releasing a key that is not parked does
/// nothing, so a release may be repeated.
pub(crate) async fn run<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    partition: &TopicPartition,
    key: &TopicKey,
) -> Result<Released, Error> {
    let mut total = Released::default();
    loop {
        let (released, complete) = release_part(runtime, subscription, partition, key).await?;
        total.applied += released.applied;
        total.poisoned_at = released.poisoned_at;
        tracing::info!(%partition, key = %key.key, applied = total.applied, poisoned_at = ?released.poisoned_at, complete,
            "a parked key was released");
        if complete {
            return Ok(total);
        }
    }
}

/// Runs one transaction of a release, until it succeeds. Returns `false` if more messages are to be released.
async fn release_part<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    partition: &TopicPartition,
    key: &TopicKey,
) -> Result<(Released, bool), Error> {
    let mut known = KnownFailures::new();
    let mut last = format!("no outcome after {ATTEMPTS} attempts");
    let mut back_off = Duration::from_millis(20);
    for _ in 0..ATTEMPTS {
        match attempt(runtime, subscription, partition, key, &known).await {
            Ok(released) => return Ok(released),
            Err(AttemptError::Handler { message, failure }) => match (message, failure) {
                // The next attempt stops before this message.
                (Some(id), Failure::Poison(error)) => {
                    known.insert(id, KnownFailure::Poison(error_chain(error.as_ref())));
                }
                (Some(id), Failure::Reject(rejected) | Failure::Defer(rejected)) => {
                    known.insert(id, KnownFailure::Reject(rejected));
                }
                (_, failure) => {
                    last = error_chain(&failure);
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(LONGEST);
                }
            },
            Err(AttemptError::Commit(failure)) => last = error_chain(&failure),
            // A release moves no position, calls no log handler and applies one message at a time. A commit of unknown
            // outcome is a mismatch, and is repeated.
            Err(
                AttemptError::PositionMismatch | AttemptError::TimedOut | AttemptError::TooLarge | AttemptError::Log(_),
            ) => {}
        }
    }
    Err(Error(last))
}

async fn attempt<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    partition: &TopicPartition,
    key: &TopicKey,
    known: &KnownFailures,
) -> Result<(Released, bool), AttemptError> {
    let mut handlers = Handlers::new();
    let mut transaction = Transaction::begin(runtime, &mut handlers, known, Granularity::Single).await?;
    let released = transaction.release_key(subscription, partition, key).await;
    let (released, written) = match released {
        Ok(released) => (released, Ok(())),
        Err(error) => (Released::default(), Err(error)),
    };
    let committed = transaction.end(written).await?;
    Ok((released, committed.complete))
}
