//! Releasing a parked key: what waits for it is applied in order, to this service only.

use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use uuid::Uuid;

use crate::consuming::handler::{Failure, Handler};
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::pipeline::{Messages, Released};
use crate::consuming::worker::{Body, Setback};
use crate::ledger::{CommitError, Ledger};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

const ATTEMPTS: usize = 20;

/// Why a key was not released. Nothing changed, and it can be tried again.
#[derive(Debug, thiserror::Error)]
#[error("the key was not released: {0}")]
pub struct Error(String);

/// One transaction, which first locks the partition's position row, so that it and the partition's worker
/// take turns. It stops at the next poison message, and the key stays parked from there. Releasing a key
/// that is not parked does nothing, so a release may be repeated.
pub(crate) async fn run<L: Ledger, H: Handler<L>>(
    runtime: Arc<Runtime<L>>,
    mut body: Messages<H>,
    partition: TopicPartition,
    key: Uuid,
) -> Result<Released, Error> {
    let mut known = KnownFailures::new();
    let mut last = String::from("it was tried too often");
    let mut back_off = Duration::from_millis(20);
    for _ in 0..ATTEMPTS {
        let attempted = attempt(&runtime, &mut body, &partition, key, &known).await;
        if attempted.is_err() {
            Body::<L>::forget(&mut body);
        }
        match attempted {
            Ok(released) => {
                tracing::info!(%partition, %key, applied = released.applied, poisoned_at = ?released.poisoned_at,
                    "a parked key was released");
                return Ok(released);
            }
            Err(Setback::Failed { message, failure }) => match (message, failure) {
                // Known from now on: the next attempt stops in front of it.
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
            // A release logs nothing.
            Err(Setback::OutOfDate | Setback::Unlogged(_) | Setback::Uncommitted(_)) => {}
        }
    }
    Err(Error(last))
}

async fn attempt<L: Ledger, H: Handler<L>>(
    runtime: &Runtime<L>,
    body: &mut Messages<H>,
    partition: &TopicPartition,
    key: Uuid,
    known: &KnownFailures,
) -> Result<Released, Setback> {
    let mut unit = Unit::begin(&runtime.ledger, &runtime.publisher).await?;
    let result = async {
        let (ledger, tx) = unit.parts();
        ledger.lock_position(tx, partition).await?;
        body.release(runtime, &mut unit, &partition.topic, key, known).await
    }
    .await;
    match result {
        Ok(released) => match unit.commit().await {
            Ok(()) => Ok(released),
            Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => Err(error.into()),
        },
        Err(setback) => {
            unit.rollback().await;
            Err(setback)
        }
    }
}
