//! What a Postgres error means for the pipeline.

use messaging::ledger::{StoreError, StoreErrorKind};

/// Classifies by SQLSTATE (PostgreSQL manual, appendix A).
pub fn store_error(error: sqlx::Error) -> StoreError {
    let kind = match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // unique_violation, exclusion_violation; serialization_failure, deadlock_detected
            Some("23505" | "23P01" | "40001" | "40P01") => StoreErrorKind::Conflict,
            // Connection lost, resources short, operator intervention, cannot write now (a failing-over standby).
            Some(code)
                if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                    || ["25006", "55P03", "40003"].contains(&code) =>
            {
                StoreErrorKind::Unavailable
            }
            _ => StoreErrorKind::Broken,
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Broken,
    };
    StoreError::new(kind, error)
}
