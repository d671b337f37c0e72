//! The conformance suite of the delivery guarantee, which every store's ledger must pass together with the pipeline.
//!
//! The tests are functions over a [`Store`]. [`conformance!`](crate::conformance!) generates a `#[tokio::test]` of each
//! for one store.

mod boot;
mod clients;
mod commands;
mod consumer;
mod lanes;
mod ledger;
mod mongo;
mod ops;
mod pipeline;
mod postgres;
mod process;
mod relay;
mod sequences;
mod service;
mod stubs;

pub use boot::*;
pub use clients::*;
pub use commands::*;
pub use consumer::*;
pub use lanes::*;
pub use ledger::*;
pub use mongo::OnMongo;
pub use ops::*;
pub use pipeline::*;
pub use postgres::OnPostgres;
pub use relay::*;
pub use sequences::*;
pub use service::{Entry, Hooks, Service, Store, Tx, happened, order, subscriptions};
pub use stubs::*;

use std::time::Duration;

use messaging::ledger::TopicKey;
use uuid::Uuid;

use crate::faulty::Faults;

/// Runs a test, and fails it after three minutes, because a test that hangs would stop the whole suite.
#[doc(hidden)]
pub async fn within_limit(test: impl Future<Output = ()>) {
    const LIMIT: Duration = Duration::from_secs(180);
    let result = tokio::time::timeout(LIMIT, test).await;
    result.unwrap_or_else(|_| panic!("the test has not ended after {LIMIT:?}"));
}

/// Returns keys on one topic.
fn on(topic: &str, keys: impl IntoIterator<Item = Uuid>) -> Vec<TopicKey> {
    keys.into_iter().map(|key| TopicKey::new(topic, key)).collect()
}

/// Returns rows of keys on one topic.
fn rows<T>(topic: &str, rows: impl IntoIterator<Item = (Uuid, T)>) -> Vec<(TopicKey, T)> {
    let row = |(key, row)| (TopicKey::new(topic, key), row);
    rows.into_iter().map(row).collect()
}

/// Runs `second` while `first` is paused before its commit; then both continue.
///
/// `second` either waits for `first`, or reaches its own commit first. The outcome must be correct in both cases.
async fn race(
    first_faults: &Faults,
    first: impl Future<Output = ()>,
    second_faults: &Faults,
    second: impl Future<Output = ()>,
) {
    // Long enough for a few statements that need not wait.
    const FREE_RUN: Duration = Duration::from_millis(100);
    let (first_commit, second_commit) = (
        first_faults.pause_before("commit"),
        second_faults.pause_before("commit"),
    );
    let referee = async {
        first_commit.reached().await;
        let open = async {
            let _ = tokio::time::timeout(FREE_RUN, second_commit.reached()).await;
            first_commit.resume();
            second_commit.resume();
        };
        tokio::join!(second, open);
    };
    tokio::join!(first, referee);
}

/// Generates a `#[tokio::test]` for every test of the suite, for one [`Store`](conformance::Store).
#[macro_export]
macro_rules! conformance {
    ($store:ty) => {
        $crate::conformance_tests! { $store:
            // The ledger alone.
            positions_move_by_compare_and_set
            positions_of_several_partitions_move_together
            inbox_returns_new_messages
            housekeeping_deletes_only_old_entries
            progress_of_old_states_is_deleted
            sequences_are_kept_by_topic_and_key
            parked_records_are_read_unchanged
            pending_keys_are_listed
            dead_letters_keep_their_bytes
            a_message_is_found_in_every_table
            outbox_rows_are_swept_in_order
            acknowledged_rows_are_not_swept
            rows_without_a_live_lease_are_adopted
            commit_after_adoption_is_adopted
            due_rows_are_taken_once
            schemas_are_stored
            the_store_has_no_boot_problems
            a_registry_outage_does_not_stop_a_service_that_has_run_before
            a_service_that_has_never_run_needs_the_registry
            a_registry_with_other_schemas_stops_every_service
            a_failed_statement_cannot_be_committed
            // Lanes.
            records_of_many_partitions_share_a_transaction
            a_poison_record_costs_few_transactions
            a_mismatch_affects_one_partition
            a_partition_that_keeps_failing_waits_alone
            an_unknown_schema_holds_up_its_partition_only
            a_conflict_without_an_end_is_dead_lettered
            a_long_gap_is_applied_in_steps
            a_long_release_is_applied_in_steps
            late_commit_of_a_lane_is_swept
            // Commands.
            commit_outcome_unknown_then_continues
            rollback_leaves_no_version_gap
            stale_cache_cannot_reject
            reassigned_away_and_back_reads_fresh
            // wording: a named test of the delivery protocol
            zombie_mismatch_reads_position_anew
            first_position_insert_race
            retry_never_skips_a_batch
            restored_store_is_read_again
            defer_then_duplicate_of_the_original
            defer_exhausted_has_one_outcome
            dead_command_is_final
            late_duplicate_after_inbox_purge
            oversized_message_fails_at_append
            // Domain events.
            unhandled_type_advances_sequence
            park_and_apply_race_on_one_key
            release_races_with_arrival
            release_hits_a_second_poison
            failed_release_changes_nothing
            undecodable_domain_event_parks_its_key
            parked_duplicate_is_one_row
            same_sequence_other_id_alarms
            same_sequence_other_id_alarms_behind_a_poison_message
            parked_message_that_fails_keeps_its_error
            a_rejected_domain_event_parks_its_key
            parked_message_of_a_newer_schema_is_read
            any_order_any_batches
            // All kinds of messages.
            batch_equals_one_by_one
            position_is_the_first_statement
            a_failure_of_any_statement_loses_nothing
            unexpected_store_error_waits_and_raises_an_alert
            a_hanging_transaction_times_out
            a_conflict_is_decided_again
            panic_is_poison
            facts_are_applied_once
            newest_state_wins
            tombstone_is_the_newest_state
            unknown_command_is_a_dead_letter
            hostile_records_stop_no_partition
            refused_dead_letter_becomes_a_stub
            refused_parked_record_becomes_a_stub
            parked_stub_is_replaced_by_the_record
            a_panicking_log_handler_waits_and_raises_an_alert
            errors_of_begin_and_position_dead_letter_no_message
            a_message_with_a_refused_outcome_is_dead_lettered
            a_refused_stub_waits_and_raises_an_alert
            a_record_larger_than_a_document_stops_no_partition
            a_crash_at_any_statement_loses_nothing
            old_domain_event_is_applied
            // Ops commands.
            erasing_keys_removes_personal_data
            a_service_handles_its_own_ops_commands
            parked_keys_are_found
            dead_letters_are_shown_without_personal_fields
            dead_letter_is_shown_while_the_registry_is_down
            a_record_that_waits_for_the_registry_can_be_skipped
            dead_command_is_redriven_once
            dead_letter_is_discarded
            message_is_traced
            a_failing_ops_command_is_rejected_after_several_attempts
            a_discarded_record_makes_way_for_the_genuine_event
            a_record_behind_a_gap_can_be_discarded
        }
    };
}

/// The part of the suite that needs a broker.
#[macro_export]
macro_rules! conformance_on_kafka {
    ($store:ty) => {
        $crate::conformance_tests! { $store:
            // The relay.
            first_of_three_times_out
            fatal_producer_error_makes_a_new_producer
            deletions_pause_while_the_store_is_down
            lost_lease_of_a_single_process_recovers
            due_row_survives_a_restart
            rows_of_a_dead_process_are_published
            unknown_commit_is_swept
            acknowledgement_is_repeated
            acknowledgements_are_collected
            lease_is_renewed_while_the_store_is_slow
            drain_publishes_every_committed_message
            rows_are_deleted_while_a_sweep_waits
            an_undeliverable_row_does_not_delay_other_rows
            largest_message_is_published
            // The consumer.
            records_of_an_old_assignment_are_discarded
            position_outside_the_log_stops
            full_queue_loses_nothing
            a_paused_partition_that_comes_back_is_consumed
            a_stopped_partition_that_comes_back_is_consumed
            a_record_that_is_hostile_on_the_wire_stops_no_neighbour
            a_worker_that_ends_also_ends_the_process
            key_is_released_by_command
            an_offset_is_skipped_by_command
            status_counts_pending_messages_and_ends_with_a_tombstone
            a_hanging_status_report_does_not_delay_the_drain
            a_process_replies_to_a_command
            // The Kafka clients.
            a_consumer_that_lost_every_broker_consumes_again
            a_producer_that_lost_every_broker_publishes_again
            a_process_whose_client_has_no_broker_is_not_ready
            a_partition_that_is_not_fetched_is_assigned_again
            a_partition_whose_lane_waits_raises_an_alert
            offsets_without_a_record_are_no_lag
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
                $crate::conformance::within_limit($crate::conformance::$test::<$store>()).await;
            }
        )+
    };
}
