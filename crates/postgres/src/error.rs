//! What a Postgres error means for the pipeline.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use messaging::ledger::{StoreError, StoreErrorKind};
use sqlx::postgres::PgDatabaseError;

/// When a prepared statement last proved out of date.
///
/// A static, because [`store_error`] receives an error without the pool of its connection. An entry that belongs to
/// another pool of this process does no harm, because that pool only opens its connections again.
static STALE_SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Classifies an error by its SQLSTATE (PostgreSQL manual, appendix A), or by the driver's variant.
///
/// Only errors that clearly blame the data are `Broken`, because their message is given up. An error that this function
/// does not know is `Unexpected`: it is retried, and raises an alarm.
pub fn store_error(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        sqlx::Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(refusal) => kind_of(refusal),
            None => StoreErrorKind::Unexpected,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        // The value of a parameter has no form in Postgres's format.
        sqlx::Error::Encode(_) => StoreErrorKind::Broken,
        // A column that is missing, of another type or null is the table's fault: a message writes parameters, and
        // reads nothing of its own.
        _ => StoreErrorKind::Unexpected,
    };
    StoreError::new(kind, error)
}

/// Returns `false` for a connection whose prepared statements may be out of date. `age` is the time since it was opened.
pub(crate) fn is_current(age: Duration) -> bool {
    let stale_since = *STALE_SINCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    stale_since.is_none_or(|since| Instant::now().checked_sub(age).is_some_and(|opened| opened > since))
}

fn kind_of(refusal: &PgDatabaseError) -> StoreErrorKind {
    // Also code 0A000, which has other meanings too.
    if refusal.routine() == Some("RevalidateCachedQuery") {
        *STALE_SINCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }
    let code = refusal.code();
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // unique_violation, exclusion_violation; serialization_failure, deadlock_detected
        (_, "23505" | "23P01" | "40001" | "40P01") => StoreErrorKind::Conflict,
        // Data exceptions; not_null_violation, check_violation. A foreign_key_violation (23503) is not among them,
        // because the row that is missing may be written by another transaction.
        ("22", _) | (_, "23502" | "23514") => StoreErrorKind::Broken,
        // program_limit_exceeded: only with the name of an index it is about the size of a value. Without one it may be
        // a database that has no transaction ids left.
        (_, "54000") if refusal.constraint().is_some() || refusal.routine() == Some("index_form_tuple_context") => {
            StoreErrorKind::Broken
        }
        // Connection lost, resources short, operator intervention, system error.
        ("08" | "53" | "57" | "58", _) => StoreErrorKind::Unavailable,
        // Cannot write now (a failing-over standby), lock_not_available, statement_completion_unknown;
        // idle_in_transaction_session_timeout.
        (_, "25006" | "55P03" | "40003" | "25P03") => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Unexpected,
    }
}
