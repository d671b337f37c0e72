//! The position and its races.

use futures::TryStreamExt;
use messaging::ledger::{CommitError, DeliveryLog as _, Outbox as _, StoreErrorKind, Transactions as _};
use mongo::Mongo;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;

use crate::database::{TestDatabase, committed, eventually, kind, message, partition};

async fn advance(store: &Mongo, from: Option<i64>, to: i64) -> bool {
    committed(store, async |tx| store.advance(tx, &partition(), from, to).await)
        .await
        .expect("nobody else is there")
}

async fn position(store: &Mongo) -> Option<i64> {
    let positions = store.positions(&[partition()]).await.expect("the server answers");
    positions.get(&partition()).copied()
}

#[tokio::test]
async fn first_position_insert_race() {
    let database = TestDatabase::new().await;
    let (one, other) = (&database.store, database.another().await);
    let mut first = one.begin().await.expect("a transaction");
    assert!(
        one.advance(&mut first, &partition(), None, 5)
            .await
            .expect("nobody else yet")
    );

    // While the first is open, the second is sent away to try again.
    let mut second = other.begin().await.expect("a transaction");
    let refused = kind(other.advance(&mut second, &partition(), None, 9).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    other.rollback(second).await;
    one.commit(first).await.expect("the first wins");

    // Afterwards it is a mismatch.
    let mut second = other.begin().await.expect("a transaction");
    assert!(
        !other
            .advance(&mut second, &partition(), None, 9)
            .await
            .expect("a mismatch")
    );
    other.rollback(second).await;
    assert_eq!(position(&other).await, Some(5));
    assert!(advance(&other, Some(5), 9).await);
}

#[tokio::test]
async fn the_second_of_two_racing_moves_runs_again_and_then_mismatches() {
    let database = TestDatabase::new().await;
    let (one, other) = (&database.store, database.another().await);
    assert!(advance(one, None, 5).await);
    let mut first = one.begin().await.expect("a transaction");
    let mut second = other.begin().await.expect("a transaction");
    assert!(one.advance(&mut first, &partition(), Some(5), 10).await.expect("first"));
    let refused = kind(other.advance(&mut second, &partition(), Some(5), 20).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    other.rollback(second).await;
    one.commit(first).await.expect("the first wins");
    assert!(!advance(&other, Some(5), 20).await);
    assert_eq!(position(&other).await, Some(10));
}

#[tokio::test]
async fn a_mismatch_writes_nothing() {
    let database = TestDatabase::new().await;
    assert!(advance(&database.store, None, 5).await);
    assert!(!advance(&database.store, Some(4), 6).await);
    assert_eq!(position(&database.store).await, Some(5));
}

#[tokio::test]
async fn a_transaction_that_a_duplicate_key_ended_can_not_be_committed() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    assert!(advance(store, None, 5).await);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(!store.advance(&mut tx, &partition(), None, 6).await.expect("a mismatch"));
    let error = store.commit(tx).await.expect_err("it is ended");
    assert!(matches!(error, CommitError::RolledBack(_)), "{error:?}");
}

#[tokio::test]
async fn a_release_and_the_worker_take_turns() {
    let database = TestDatabase::new().await;
    let (release, worker) = (&database.store, database.another().await);
    assert!(advance(&worker, None, 5).await);
    let mut locked = release.begin().await.expect("a transaction");
    release.lock_position(&mut locked, &partition()).await.expect("free");
    let mut tx = worker.begin().await.expect("a transaction");
    let refused = kind(worker.advance(&mut tx, &partition(), Some(5), 6).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    worker.rollback(tx).await;
    release.commit(locked).await.expect("the release is first");
    assert!(advance(&worker, Some(5), 6).await);

    let mut tx = worker.begin().await.expect("a transaction");
    assert!(worker.advance(&mut tx, &partition(), Some(6), 7).await.expect("free"));
    let mut locked = release.begin().await.expect("a transaction");
    let refused = kind(release.lock_position(&mut locked, &partition()).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    release.rollback(locked).await;
    worker.commit(tx).await.expect("the worker is first");
}

#[tokio::test]
async fn locking_makes_no_position() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    committed(store, async |tx| store.lock_position(tx, &partition()).await)
        .await
        .expect("there is nothing to wait for");
    assert_eq!(position(store).await, None);
    assert!(advance(store, None, 1).await);
}

#[tokio::test]
async fn what_is_rolled_back_leaves_nothing() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let mut tx = store.begin().await.expect("a transaction");
    assert!(store.advance(&mut tx, &partition(), None, 1).await.expect("free"));
    let owner = uuid::Uuid::now_v7();
    store.append(&mut tx, owner, &[message()]).await.expect("appended");
    store.rollback(tx).await;
    assert_eq!(position(store).await, None);
    assert_eq!(store.outbox_gauge().await.expect("the server answers").rows, 0);
}

#[tokio::test]
async fn a_transaction_without_statements_ends_well() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let tx = store.begin().await.expect("a transaction");
    store.commit(tx).await.expect("nothing to commit");
    let tx = store.begin().await.expect("a transaction");
    store.rollback(tx).await;
    drop(store.begin().await.expect("a transaction"));
}

#[tokio::test]
async fn a_dropped_transaction_is_aborted() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let mut tx = store.begin().await.expect("a transaction");
    assert!(store.advance(&mut tx, &partition(), None, 1).await.expect("free"));
    assert_eq!(open_transactions(store).await, 1);
    drop(tx);
    eventually("the transaction is gone", || async {
        (open_transactions(store).await == 0).then_some(())
    })
    .await;
    assert!(advance(store, None, 1).await);
}

#[tokio::test]
async fn the_transaction_of_a_dead_process_is_ended() {
    let database = TestDatabase::new().await;
    let (dead, heir) = (database.another().await, &database.store);
    let mut tx = dead.begin().await.expect("a transaction");
    assert!(dead.advance(&mut tx, &partition(), None, 1).await.expect("free"));
    // A process that is killed aborts nothing, and the server would wait for a minute.
    std::mem::forget(tx);
    eventually("the position is free", || async {
        committed(heir, async |tx| heir.advance(tx, &partition(), None, 1).await)
            .await
            .ok()
    })
    .await;
    assert_eq!(position(heir).await, Some(1));
}

/// Of this database.
async fn open_transactions(store: &Mongo) -> usize {
    let sessions: Vec<Document> = store
        .client()
        .database("admin")
        .aggregate([
            doc! { "$currentOp": { "idleSessions": true } },
            doc! { "$match": { "appName": format!("rollcall/{}", store.database().name()), "type": "idleSession" } },
        ])
        .read_concern(ReadConcern::local())
        .await
        .expect("the server answers")
        .try_collect()
        .await
        .expect("the server answers");
    sessions.len()
}
