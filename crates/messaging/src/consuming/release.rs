//! Releases a parked key: applies its parked messages in order, to this service only.

use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use uuid::Uuid;

use crate::consuming::handler::{Failure, Handler};
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::pipeline::{MessageProcessor, Released};
use crate::consuming::worker::{AttemptError, Processor};
use crate::ledger::{CommitError, Ledger};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

const ATTEMPTS: usize = 20;

/// The reason why a key was not released. Nothing has changed, and the release can be repeated.
#[derive(Debug, thiserror::Error)]
#[error("the key was not released: {0}")]
pub struct Error(String);

/// Releases a key in one transaction.
///
/// The transaction first locks the partition's position row, so that the release and the partition's worker take turns.
/// It stops at the next poison message, and the key stays parked from there. Releasing a key that is not parked does
/// nothing, so a release may be repeated.
pub(crate) async fn run<L: Ledger, H: Handler<L>>(
    runtime: Arc<Runtime<L>>,
    mut processor: MessageProcessor<H>,
    partition: TopicPartition,
    key: Uuid,
) -> Result<Released, Error> {
    let mut known = KnownFailures::new();
    let mut last = format!("no outcome after {ATTEMPTS} attempts");
    let mut back_off = Duration::from_millis(20);
    for _ in 0..ATTEMPTS {
        let attempted = attempt(&runtime, &mut processor, &partition, key, &known).await;
        if attempted.is_err() {
            Processor::<L>::invalidate(&mut processor);
        }
        match attempted {
            Ok(released) => {
                tracing::info!(%partition, %key, applied = released.applied, poisoned_at = ?released.poisoned_at,
                    "a parked key was released");
                return Ok(released);
            }
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
                    back_off = (back_off * 2).min(Duration::from_secs(1));
                }
            },
            // A release calls no log handler, and its commit errors are of the kind `Handler`.
            Err(AttemptError::PositionMismatch | AttemptError::Log(_) | AttemptError::Commit(_)) => {}
        }
    }
    Err(Error(last))
}

async fn attempt<L: Ledger, H: Handler<L>>(
    runtime: &Runtime<L>,
    processor: &mut MessageProcessor<H>,
    partition: &TopicPartition,
    key: Uuid,
    known: &KnownFailures,
) -> Result<Released, AttemptError> {
    let mut unit = Unit::begin(&runtime.ledger, &runtime.publisher).await?;
    let result = async {
        let (ledger, tx) = unit.parts();
        ledger.lock_position(tx, partition).await?;
        processor
            .release(runtime, &mut unit, &partition.topic, key, known)
            .await
    }
    .await;
    match result {
        Ok(released) => match unit.commit().await {
            Ok(()) => Ok(released),
            Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => Err(error.into()),
        },
        Err(error) => {
            unit.rollback().await;
            Err(error)
        }
    }
}
