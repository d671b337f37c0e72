use std::ops::{Deref, DerefMut};

use messaging::ledger::{CommitError, StoreError, Transactions};
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{PgConnection, PgPool};

use crate::{Postgres, in_time, store_error};

/// A transaction on a service's database. It is rolled back if it is dropped without a commit.
///
/// A statement is executed on `&mut **tx`.
#[derive(Debug)]
pub struct Tx {
    inner: sqlx::Transaction<'static, sqlx::Postgres>,
    /// The last statement is known to have succeeded. Any other access to the connection resets this.
    has_succeeded: bool,
}

impl Tx {
    /// Begins a transaction.
    pub async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        Ok(Self {
            inner: pool.begin().await?,
            has_succeeded: true,
        })
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// Returns an error also if a statement failed before, even if its error was ignored.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.check().await?;
        self.inner.commit().await
    }

    /// Records that the statement that was just executed succeeded, so that the commit need not check it.
    pub(crate) fn succeeded(&mut self) {
        self.has_succeeded = true;
    }

    /// Fails if a statement has failed.
    ///
    /// Postgres responds to the COMMIT of a failed transaction with a rollback and no error. Every statement of such a
    /// transaction fails, so one that succeeds directly before the COMMIT proves that the transaction has not failed. A
    /// rollback is therefore never taken for a commit, and nothing is published that did not happen.
    async fn check(&mut self) -> sqlx::Result<()> {
        if !self.has_succeeded {
            sqlx::query("SELECT 1").execute(&mut *self.inner).await?;
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.has_succeeded = false;
        &mut self.inner
    }
}

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
        in_time(async { Tx::begin(self.pool()).await.map_err(store_error) }).await
    }

    async fn commit(&self, mut tx: Tx) -> Result<(), CommitError> {
        if let Err(error) = tx.check().await {
            self.rollback(tx).await;
            return Err(CommitError::RolledBack(store_error(error)));
        }
        match tx.inner.commit().await {
            Ok(()) => Ok(()),
            Err(error) if is_rejected(&error) => Err(CommitError::RolledBack(store_error(error))),
            Err(error) => Err(CommitError::Unknown(store_error(error))),
        }
    }

    async fn rollback(&self, tx: Tx) {
        if let Err(error) = tx.inner.rollback().await {
            tracing::debug!(%error, "a rollback failed; the server rolls back when the connection ends");
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
