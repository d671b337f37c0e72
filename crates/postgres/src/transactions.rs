use messaging::ledger::{CommitError, StoreError, Transactions};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::{Postgres, Tx, in_time, store_error};

impl Transactions for Postgres {
    type Tx = Tx;

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(self.pool())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        in_time(async { self.pool().begin().await.map_err(store_error) }).await
    }

    async fn commit(&self, mut tx: Tx) -> Result<(), CommitError> {
        // Postgres responds to the COMMIT of a failed transaction with a rollback and no error. This statement fails in such
        // a transaction, so a rollback is never taken for a commit and nothing is published that did not happen.
        if let Err(error) = sqlx::query("SELECT 1").execute(&mut *tx).await {
            self.rollback(tx).await;
            return Err(CommitError::RolledBack(store_error(error)));
        }
        match tx.commit().await {
            Ok(()) => Ok(()),
            Err(error) if is_rejected(&error) => Err(CommitError::RolledBack(store_error(error))),
            Err(error) => Err(CommitError::Unknown(store_error(error))),
        }
    }

    async fn rollback(&self, tx: Tx) {
        if let Err(error) = tx.rollback().await {
            tracing::debug!(%error, "a rollback failed; the server will roll back when the connection ends");
        }
    }
}

/// Returns `true` if the server rejected the commit, and has thus rolled back. An error that ends the connection may come
/// after the commit itself.
fn is_rejected(error: &sqlx::Error) -> bool {
    let rejection = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    rejection.is_some_and(|error| error.severity() == PgSeverity::Error && error.code() != "40003")
}
