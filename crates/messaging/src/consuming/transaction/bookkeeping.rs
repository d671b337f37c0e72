//! What a transaction writes at its end, in one statement of each kind for all topics.

use crate::consuming::attempt_error::AttemptError;
use crate::consuming::transaction::Transaction;
use crate::ledger::{DeadLetter, Ledger, Parked, Sequence, TopicKey};

/// Rows of the delivery log that are collected while the messages are applied.
#[derive(Default)]
pub(super) struct Bookkeeping {
    pub(super) dead_letters: Vec<DeadLetter>,
    /// Sequences of keys that had none.
    pub(super) new_sequences: Vec<(TopicKey, Sequence)>,
    pub(super) changed_sequences: Vec<(TopicKey, Sequence)>,
    /// Parked records to delete, before others are parked.
    pub(super) unpark: Vec<(TopicKey, i64)>,
}

impl<L: Ledger> Transaction<'_, L> {
    /// Writes what was collected.
    pub(super) async fn write_bookkeeping(&mut self) -> Result<(), AttemptError> {
        let rows = std::mem::take(&mut self.bookkeeping);
        let (ledger, tx) = self.unit.parts();
        if !rows.dead_letters.is_empty() {
            ledger.insert_dead_letters(tx, &rows.dead_letters).await?;
        }
        if !rows.new_sequences.is_empty() || !rows.changed_sequences.is_empty() {
            ledger
                .set_sequences(tx, &rows.new_sequences, &rows.changed_sequences)
                .await?;
        }
        Ok(())
    }

    /// Deletes parked records whose messages were applied, and parks others. Returns the keys and numbers that are parked
    /// under another message id.
    pub(super) async fn park(&mut self, rows: &[Parked]) -> Result<Vec<(TopicKey, i64)>, AttemptError> {
        let unpark = std::mem::take(&mut self.bookkeeping.unpark);
        let (ledger, tx) = self.unit.parts();
        if !unpark.is_empty() {
            ledger.unpark(tx, &unpark).await?;
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        Ok(ledger.park(tx, rows).await?)
    }
}
