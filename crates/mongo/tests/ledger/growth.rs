//! Statements on collections that may be large.

use std::time::Duration;

use messaging::ledger::{Maintenance as _, OpsQueries as _, Transactions as _};
use mongo::Mongo;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::ReadConcern;
use uuid::Uuid;

use crate::database::{TestDatabase, eventually};

/// Returns the statements that the server has recorded and that match a filter.
async fn recorded(store: &Mongo, filter: Document) -> Vec<Document> {
    use futures::TryStreamExt as _;
    store
        .collection::<Document>("system.profile")
        .find(filter)
        // This collection is not replicated.
        .read_concern(ReadConcern::local())
        .await
        .expect("the server responds")
        .try_collect()
        .await
        .expect("the server responds")
}

/// Makes the server record every statement (2) or none (0).
async fn record(store: &Mongo, level: i32) {
    let profiled = store.database().run_command(doc! { "profile": level }).await;
    profiled.expect("the server responds");
}

#[tokio::test]
async fn no_query_of_an_operator_scans_a_collection() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    record(store, 2).await;
    let mut tx = store.begin().await.expect("a transaction");
    store.find_message(&mut tx, Uuid::now_v7()).await.expect("found");
    store.pending_keys(&mut tx, None, 10).await.expect("listed");
    store.list_dead_letters(&mut tx, None, 10).await.expect("listed");
    store.rollback(tx).await;
    store.pending_topics().await.expect("counted");
    store.count_dead_letters().await.expect("counted");
    store.forget_states("ops.status", 7).await.expect("deleted");
    record(store, 0).await;
    let statements = recorded(store, doc! { "planSummary": { "$exists": true } }).await;
    assert!(statements.len() >= 9, "{statements:#?}");
    let scans = recorded(store, doc! { "planSummary": "COLLSCAN" }).await;
    assert!(scans.is_empty(), "{scans:#?}");
}

/// After a long downtime, the inbox has many old entries.
#[tokio::test]
async fn inbox_entries_are_deleted_in_chunks() {
    const ENTRIES: i32 = 12_000;
    let database = TestDatabase::new().await;
    let store = &database.store;
    let first = DateTime::now().timestamp_millis() - 30 * 86_400_000;
    let entries = (0..ENTRIES).map(|attempt| {
        let since = DateTime::from_millis(first + i64::from(attempt));
        doc! { "_id": { "id": bson_id(), "attempt": attempt }, "since": since }
    });
    let inbox = store.collection::<Document>("inbox");
    inbox.insert_many(entries).await.expect("inserted");
    record(store, 2).await;
    store
        .housekeeping(Duration::from_secs(86_400))
        .await
        .expect("cleaned up");
    record(store, 0).await;
    assert_eq!(inbox.count_documents(doc! {}).await.expect("counted"), 0);
    let ns = format!("{}.inbox", store.database().name());
    let deleted: Vec<i64> = recorded(store, doc! { "op": "remove", "ns": ns })
        .await
        .iter()
        .map(|statement| match statement.get("ndeleted") {
            Some(Bson::Int32(count)) => i64::from(*count),
            Some(Bson::Int64(count)) => *count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(deleted.iter().sum::<i64>(), i64::from(ENTRIES));
    assert!(deleted.iter().all(|count| *count <= 5_000), "{deleted:?}");
}

fn bson_id() -> mongodb::bson::Uuid {
    mongo::to_bson(Uuid::now_v7())
}

/// The lease must not wait for a connection that a slow statement occupies.
#[tokio::test]
async fn the_lease_does_not_wait_for_the_pool() {
    use messaging::ledger::Outbox as _;
    let database = TestDatabase::new().await;
    let store = database.with_one_connection().await;
    let owner = Uuid::now_v7();
    let length = Duration::from_secs(60);
    store.start_lease(owner, length).await.expect("the server responds");
    let slow = store.collection::<Document>("slow");
    slow.insert_one(doc! {}).await.expect("inserted");
    let statement = tokio::spawn(async move { slow.find_one(doc! { "$where": "sleep(8000) || true" }).await });
    let ns = format!("{}.slow", store.database().name());
    eventually("the statement runs", || async {
        use futures::TryStreamExt as _;
        let admin = database.store.client().database("admin");
        let mut running = admin
            .aggregate([doc! { "$currentOp": {} }, doc! { "$match": { "ns": &ns } }])
            .read_concern(ReadConcern::local())
            .await
            .expect("the server responds");
        running.try_next().await.expect("the server responds").map(|_| ())
    })
    .await;
    let renewed = tokio::time::timeout(Duration::from_secs(4), store.renew_lease(owner, length)).await;
    assert!(renewed.expect("it does not wait").expect("the server responds"));
    statement.abort();
}
