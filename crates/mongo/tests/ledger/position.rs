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
        .expect("no other transaction is open")
}

async fn position(store: &Mongo) -> Option<i64> {
    let positions = store.positions(&[partition()]).await.expect("the server responds");
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
            .expect("no conflict")
    );

    // While the first is open, the second fails and is retried.
    let mut second = other.begin().await.expect("a transaction");
    let error = kind(other.advance(&mut second, &partition(), None, 9).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
    other.rollback(second).await;
    one.commit(first).await.expect("the first wins");

    // After the commit, the position does not match.
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
    let error = kind(other.advance(&mut second, &partition(), Some(5), 20).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
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
async fn a_transaction_that_a_duplicate_key_has_ended_cannot_be_committed() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    assert!(advance(store, None, 5).await);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(!store.advance(&mut tx, &partition(), None, 6).await.expect("a mismatch"));
    let error = store.commit(tx).await.expect_err("the server has ended it");
    assert!(matches!(error, CommitError::RolledBack(_)), "{error:?}");
}

#[tokio::test]
async fn a_release_and_the_worker_exclude_each_other() {
    let database = TestDatabase::new().await;
    let (release, worker) = (&database.store, database.another().await);
    assert!(advance(&worker, None, 5).await);
    let mut locked = release.begin().await.expect("a transaction");
    release
        .lock_position(&mut locked, &partition())
        .await
        .expect("no conflict");
    let mut tx = worker.begin().await.expect("a transaction");
    let error = kind(worker.advance(&mut tx, &partition(), Some(5), 6).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
    worker.rollback(tx).await;
    release.commit(locked).await.expect("the release is first");
    assert!(advance(&worker, Some(5), 6).await);

    let mut tx = worker.begin().await.expect("a transaction");
    assert!(
        worker
            .advance(&mut tx, &partition(), Some(6), 7)
            .await
            .expect("no conflict")
    );
    let mut locked = release.begin().await.expect("a transaction");
    let error = kind(release.lock_position(&mut locked, &partition()).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
    release.rollback(locked).await;
    worker.commit(tx).await.expect("the worker is first");
}

#[tokio::test]
async fn locking_creates_no_position() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    committed(store, async |tx| store.lock_position(tx, &partition()).await)
        .await
        .expect("there is nothing to lock");
    assert_eq!(position(store).await, None);
    assert!(advance(store, None, 1).await);
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 1)
            .await
            .expect("no conflict")
    );
    let owner = uuid::Uuid::now_v7();
    store.append(&mut tx, owner, &[message()]).await.expect("appended");
    store.rollback(tx).await;
    assert_eq!(position(store).await, None);
    assert_eq!(store.outbox_gauge().await.expect("the server responds").rows, 0);
}

#[tokio::test]
async fn a_transaction_without_statements_can_be_committed() {
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
    assert!(
        store
            .advance(&mut tx, &partition(), None, 1)
            .await
            .expect("no conflict")
    );
    assert_eq!(open_transactions(store).await, 1);
    drop(tx);
    eventually("the transaction is ended", || async {
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
    assert!(dead.advance(&mut tx, &partition(), None, 1).await.expect("no conflict"));
    // A killed process does not abort its transaction, and the server would wait for a minute.
    std::mem::forget(tx);
    eventually("the position is free", || async {
        committed(heir, async |tx| heir.advance(tx, &partition(), None, 1).await)
            .await
            .ok()
    })
    .await;
    assert_eq!(position(heir).await, Some(1));
}

/// Returns the number of open transactions on this database.
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
        .expect("the server responds")
        .try_collect()
        .await
        .expect("the server responds");
    sessions.len()
}
