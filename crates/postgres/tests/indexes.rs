//! The queries of operators and of the status report, which must not scan a table that may be large.

use messaging::ledger::{OpsQueries as _, Transactions as _};
use postgres::Postgres;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use uuid::Uuid;

/// Returns the tables with the number of times that each was scanned.
async fn scans(pool: &PgPool) -> Vec<(String, i64)> {
    let scans = "SELECT relname::text, coalesce(seq_scan, 0) FROM pg_stat_user_tables
                 WHERE relname IN ('outbox', 'delayed', 'sequences', 'parked', 'dead_letters') OR relname LIKE 'inbox%'
                 ORDER BY relname";
    sqlx::query_as(scans)
        .fetch_all(pool)
        .await
        .expect("the statistics can be read")
}

#[tokio::test]
async fn no_query_of_an_operator_scans_a_table() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    // Without this, the planner would scan these small tables although an index exists.
    sqlx::query("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database()); END $$")
        .execute(database.pool())
        .await
        .expect("the setting is changed");
    let ledger = Postgres::connect(&database.url(), 1).await.expect("a connection");
    let before = scans(database.pool()).await;

    let mut tx = ledger.begin().await.expect("a transaction begins");
    ledger.find_message(&mut tx, Uuid::now_v7()).await.expect("found");
    ledger.pending_keys(&mut tx, None, 10).await.expect("listed");
    ledger.list_dead_letters(&mut tx, None, 10).await.expect("listed");
    ledger.commit(tx).await.expect("committed");
    ledger.pending_topics().await.expect("counted");
    ledger.count_dead_letters().await.expect("counted");

    // The statistics of the only connection, which would otherwise appear later.
    sqlx::query("SELECT pg_stat_force_next_flush()")
        .execute(ledger.pool())
        .await
        .expect("flushed");
    assert_eq!(scans(database.pool()).await, before);
}
