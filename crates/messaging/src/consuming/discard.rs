//! Discards a parked record, so that another record with the same number can be applied.

use std::time::Duration;

use chassis::error_chain;

use crate::backoff::LONGEST;
use crate::ledger::{CommitError, Ledger, Parked, Sequence, StoreError};
use crate::publishing::unit::Unit;
use crate::runtime::Runtime;

const ATTEMPTS: usize = 20;

/// Deletes a parked record in a separate transaction, and returns the new state of its key. If the key is parked because of
/// this record, it continues with the next record that has the same number. Returns `None` if the record is not parked any
/// more.
///
/// # Errors
/// Returns the error of the last attempt, after several ones. The caller may repeat the call.
pub(crate) async fn run<L: Ledger>(runtime: &Runtime<L>, record: &Parked) -> Result<Option<Sequence>, StoreError> {
    let mut back_off = Duration::from_millis(20);
    let mut perhaps_committed = None;
    let mut attempt = 1;
    loop {
        let error = match discard(runtime, record, &mut perhaps_committed).await {
            Ok(Some(state)) => return Ok(Some(state)),
            // Perhaps a commit of unknown outcome has deleted it.
            Ok(None) => return Ok(perhaps_committed),
            Err(error) => error,
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
        tracing::warn!(partition = %record.record.partition, error = error_chain(&error),
            "a parked record was not discarded, will retry");
        tokio::time::sleep(back_off).await;
        back_off = (back_off * 2).min(LONGEST);
    }
}

async fn discard<L: Ledger>(
    runtime: &Runtime<L>,
    record: &Parked,
    perhaps_committed: &mut Option<Sequence>,
) -> Result<Option<Sequence>, StoreError> {
    let mut unit = Unit::begin(&runtime.ledger, &runtime.publisher).await?;
    match delete(&mut unit, record).await {
        Ok(Some(state)) => match unit.commit().await {
            Ok(()) => Ok(Some(state)),
            Err(CommitError::RolledBack(error)) => Err(error),
            Err(CommitError::Unknown(error)) => {
                *perhaps_committed = Some(state);
                Err(error)
            }
        },
        unchanged => {
            unit.rollback().await;
            unchanged
        }
    }
}

/// First locks the partition's position row, so that the transaction and the partition's lane take turns.
async fn delete<L: Ledger>(unit: &mut Unit<L>, record: &Parked) -> Result<Option<Sequence>, StoreError> {
    let key = record.topic_key();
    let (ledger, tx) = unit.parts();
    ledger.lock_position(tx, &record.record.partition).await?;
    let sequences = ledger.sequences(tx, std::slice::from_ref(&key)).await?;
    let parked = ledger.parked(tx, &key, record.sequence, 1).await?;
    let is_parked = |row: &Parked| row.sequence == record.sequence && row.id == record.id;
    let (Some((_, state)), true) = (sequences.into_iter().next(), parked.iter().any(is_parked)) else {
        return Ok(None);
    };
    ledger.unpark(tx, &[(key.clone(), record.sequence)]).await?;
    let others = ledger.parked(tx, &key, 0, 1).await?;
    let state = Sequence {
        poisoned_at: state.poisoned_at.filter(|number| *number != record.sequence),
        has_parked: !others.is_empty(),
        ..state
    };
    ledger.set_sequences(tx, &[], &[(key, state)]).await?;
    Ok(Some(state))
}
