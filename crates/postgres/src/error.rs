//! Classifies the errors of Postgres for the pipeline.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use messaging::ledger::{StoreError, StoreErrorKind};
use sqlx::postgres::PgDatabaseError;

/// The time at which a prepared statement last proved to be out of date.
///
/// A static, because [`store_error`] receives an error without the pool of its connection. An entry of another pool of this
/// process is harmless, because it only makes this pool reopen its connections.
static STALE_SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Classifies an error by its SQLSTATE (PostgreSQL manual, appendix A), or by the driver's variant.
///
/// Only errors that were clearly caused by the data are `Broken`, because their message is dead-lettered or parked. An
/// error that this function does not know is `Unexpected`: it is retried, and raises an alert.
pub fn store_error(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => kind_of(error),
            None => StoreErrorKind::Unexpected,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        // The value of a parameter cannot be represented in Postgres's format.
        sqlx::Error::Encode(_) => StoreErrorKind::Broken,
        // A column that is missing, null or of another type is an error of the table, because a message supplies
        // parameters, not columns.
        _ => StoreErrorKind::Unexpected,
    };
    StoreError::new(kind, error)
}

/// Returns `false` for a connection whose prepared statements may be out of date. `age` is the time since it was opened.
pub(crate) fn is_current(age: Duration) -> bool {
    let stale_since = *STALE_SINCE.lock().unwrap_or_else(PoisonError::into_inner);
    stale_since.is_none_or(|since| Instant::now().checked_sub(age).is_some_and(|opened| opened > since))
}

fn kind_of(error: &PgDatabaseError) -> StoreErrorKind {
    // The code of this error is 0A000, which also has other meanings.
    if error.routine() == Some("RevalidateCachedQuery") {
        *STALE_SINCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    let code = error.code();
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // unique_violation, exclusion_violation; serialization_failure, deadlock_detected
        (_, "23505" | "23P01" | "40001" | "40P01") => StoreErrorKind::Conflict,
        // Data exceptions; not_null_violation, check_violation. A foreign_key_violation (23503) is not among them, because
        // another transaction may still write the missing row.
        ("22", _) | (_, "23502" | "23514") => StoreErrorKind::Broken,
        // program_limit_exceeded concerns the size of a value only if it names an index. Otherwise the database may have run
        // out of transaction ids.
        (_, "54000") if error.constraint().is_some() || error.routine() == Some("index_form_tuple_context") => {
            StoreErrorKind::Broken
        }
        // Connection exceptions, insufficient resources, operator intervention, system errors.
        ("08" | "53" | "57" | "58", _) => StoreErrorKind::Unavailable,
        // read_only_sql_transaction (a standby during a fail-over), lock_not_available, statement_completion_unknown;
        // idle_in_transaction_session_timeout.
        (_, "25006" | "55P03" | "40003" | "25P03") => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Unexpected,
    }
}
