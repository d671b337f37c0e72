use std::fmt;

use messaging::ledger::StoreError;
use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::query::Query;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use crate::store_error;

/// One connection beside the pool, for statements that must not wait for the pool. It is opened by the first statement.
///
/// Its commits do not wait for the disk, so it is only for rows whose loss causes duplicates and nothing else.
pub(crate) struct Dedicated {
    options: PgConnectOptions,
    connection: Mutex<Option<PgConnection>>,
}

impl Dedicated {
    pub(crate) fn new(options: PgConnectOptions) -> Self {
        Self {
            options: options.options([("synchronous_commit", "off")]),
            connection: Mutex::new(None),
        }
    }

    /// Executes one statement, and returns the number of rows that it affected.
    pub(crate) async fn execute(&self, statement: Query<'_, sqlx::Postgres, PgArguments>) -> Result<u64, StoreError> {
        let mut slot = self.connection.lock().await;
        // Not in the slot meanwhile, so that a connection in an unknown state is never used again: a call that fails or
        // is aborted closes it.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(store_error)?,
        };
        let result = statement.execute(&mut connection).await.map_err(store_error)?;
        *slot = Some(connection);
        Ok(result.rows_affected())
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options contain the password.
        f.debug_struct("Dedicated").finish_non_exhaustive()
    }
}
