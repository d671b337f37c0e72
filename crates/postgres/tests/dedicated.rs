//! The connections beside the pool.

use std::time::Duration;

use messaging::TopicPartition;
use messaging::ledger::{Outbox as _, Transactions as _};
use sqlx::migrate::Migrator;
use uuid::Uuid;

#[tokio::test]
async fn the_lease_and_acknowledgements_do_not_wait_for_the_pool() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = database.ledger();
    let owner = Uuid::now_v7();
    let tx = ledger.begin().await.expect("the only connection of the pool is free");
    let calls = async {
        ledger.start_lease(owner, Duration::from_secs(9)).await?;
        let renewed = ledger.renew_lease(owner, Duration::from_secs(9)).await?;
        let partition = TopicPartition::new("events", 0);
        ledger.acknowledge(&[(1, owner)], &[(partition, 7)]).await?;
        Ok::<_, messaging::ledger::StoreError>(renewed)
    };
    let renewed = tokio::time::timeout(Duration::from_secs(5), calls).await;
    assert!(renewed.expect("no call waits").expect("the server responds"));
    ledger.rollback(tx).await;
}

#[tokio::test]
async fn a_connection_that_was_lost_is_replaced() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = database.ledger();
    let owner = Uuid::now_v7();
    let length = Duration::from_secs(60);
    ledger.start_lease(owner, length).await.expect("the server responds");
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(database.pool())
    .await
    .expect("the connections are ended");
    ledger
        .renew_lease(owner, length)
        .await
        .expect_err("the connection was lost");
    assert!(ledger.renew_lease(owner, length).await.expect("there is a new one"));
}

#[tokio::test]
async fn a_long_outbox_is_estimated() {
    let database = testing::postgres(&Migrator::DEFAULT).await;
    let ledger = database.ledger();
    let fill = "INSERT INTO outbox (owner, topic, key, headers, appended_at)
        SELECT ('00000000-0000-0000-0000-00000000000' || n % 3)::uuid, 'events', gen_random_uuid(), '[]',
               clock_timestamp() - make_interval(secs => 100 - n / 1000.0)
        FROM generate_series(1, 20000) AS n";
    let mut connection = database.pool().acquire().await.expect("a connection");
    sqlx::query(fill).execute(&mut *connection).await.expect("filled");
    // Otherwise the server counts new rows up to a second later.
    sqlx::query("SELECT pg_stat_force_next_flush()")
        .execute(&mut *connection)
        .await
        .expect("flushed");
    let gauge = ledger.outbox_gauge().await.expect("the server responds");
    assert_eq!(gauge.rows, 20_000);
    assert!(gauge.oldest_age >= Duration::from_secs(99), "{gauge:?}");
    assert!(gauge.oldest_age < Duration::from_secs(200), "{gauge:?}");

    sqlx::query("DELETE FROM outbox WHERE id > 1234")
        .execute(&mut *connection)
        .await
        .expect("deleted");
    let gauge = ledger.outbox_gauge().await.expect("the server responds");
    assert_eq!(gauge.rows, 1_234, "a short outbox is counted");
}
