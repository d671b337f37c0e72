//! What every store's ledger must pass together with the pipeline: the promise of delivery, test by test.
//!
//! The tests are functions over a [`Store`]; [`conformance!`](crate::conformance!) makes `#[tokio::test]`s of them
//! for one store.

mod mongo;
mod postgres;
mod service;

pub use mongo::OnMongo;
pub use postgres::OnPostgres;
pub use service::{Entry, Hooks, Service, Store, Tx, happened, order, subscriptions};

mod commands;

pub use commands::*;

/// Makes a `#[tokio::test]` of every test of the suite, for one [`Store`](conformance::Store).
#[macro_export]
macro_rules! conformance {
    ($store:ty) => {
        $crate::conformance_tests! { $store:
            commit_outcome_unknown_then_continues
            rollback_leaves_no_version_gap
            stale_cache_cannot_reject
            reassigned_away_and_back_reads_fresh
            zombie_mismatch_reads_position_anew
            first_position_insert_race
            retry_never_skips_a_batch
            defer_then_duplicate_of_the_original
            defer_exhausted_has_one_outcome
            dead_command_is_final
            late_duplicate_after_inbox_purge
            oversized_message_fails_at_append
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($store:ty: $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::$test::<$store>().await;
            }
        )+
    };
}
