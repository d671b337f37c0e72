use std::future::Future;

use super::{CommitError, StoreError};

/// Transactions on a store. Cheap to clone: all clones share the store's connections.
pub trait Transactions: Clone + Send + Sync + 'static {
    /// An open transaction. It is rolled back if it is dropped without a commit.
    type Tx: Send + 'static;

    /// Checks that the store responds.
    ///
    /// # Errors
    /// Returns an error of the kind [`Unavailable`](super::StoreErrorKind::Unavailable) if it does not.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Begins a transaction.
    ///
    /// The isolation level differs: Postgres reads what is committed when a statement begins, MongoDB reads a snapshot of
    /// the transaction's beginning. A caller may rely only on the locks that the methods of the ledger document.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;

    /// Commits a transaction.
    ///
    /// After `Ok`, all of its statements have taken effect together, and neither a crash nor a fail-over undoes them.
    ///
    /// # Errors
    /// Returns [`CommitError::RolledBack`] if nothing has taken effect. A transaction in which a statement failed always
    /// ends like this, even if the caller ignored the statement's error. Returns [`CommitError::Unknown`] if the store
    /// did not confirm either outcome; then the caller reads the stored position again.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Rolls a transaction back. It never fails, because the server itself ends a transaction whose client is
    /// disconnected.
    fn rollback(&self, tx: Self::Tx) -> impl Future<Output = ()> + Send;
}
