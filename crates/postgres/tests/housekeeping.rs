//! The partitions of the inbox.

use std::time::Duration;

use messaging::ledger::{Maintenance as _, Transactions as _};
use sqlx::migrate::Migrator;

const RETENTION: Duration = Duration::from_secs(10 * 86_400);

/// A rebuild or a long query may hold the inbox for minutes. Housekeeping must not fail a boot meanwhile, and above all,
/// other transactions must not wait behind it.
#[tokio::test]
async fn housekeeping_does_not_wait_for_a_long_transaction() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = database.inside();
    sqlx::query("CREATE TABLE inbox_20200101 PARTITION OF inbox FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
        .execute(database.pool())
        .await
        .expect("an old partition");
    let mut long = ledger.begin().await.expect("a transaction begins");
    sqlx::query("SELECT count(*) FROM inbox")
        .execute(&mut *long)
        .await
        .expect("the inbox is held");

    let cleaned = tokio::time::timeout(Duration::from_secs(5), ledger.housekeeping(RETENTION)).await;
    cleaned.expect("it does not wait").expect("it is not an error");
    assert_eq!(partitions(&database).await, ["inbox_20200101"], "repeated later");

    ledger.rollback(long).await;
    ledger.housekeeping(RETENTION).await.expect("cleaned up");
    let partitions = partitions(&database).await;
    assert!(!partitions.contains(&"inbox_20200101".to_owned()), "{partitions:?}");
    assert_eq!(partitions.len(), 15, "eleven days, today, and three days ahead");
}

/// A process that ended between the two steps leaves a detached partition.
#[tokio::test]
async fn a_detached_partition_is_dropped() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = database.inside();
    ledger.housekeeping(RETENTION).await.expect("cleaned up");
    sqlx::query("CREATE TABLE inbox_20200101 (LIKE inbox INCLUDING ALL)")
        .execute(database.pool())
        .await
        .expect("a detached partition");
    ledger.housekeeping(RETENTION).await.expect("cleaned up");
    let left: Option<String> = sqlx::query_scalar("SELECT to_regclass('inbox_20200101')::text")
        .fetch_one(database.pool())
        .await
        .expect("the catalogue can be read");
    assert_eq!(left, None);
}

async fn partitions(database: &testing::PostgresDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'inbox'::regclass AND c.relname <> 'inbox_other' ORDER BY c.relname",
    )
    .fetch_all(database.pool())
    .await
    .expect("the catalogue can be read")
}
