//! Commits whose response is lost, and servers that are unresponsive or unreachable.

use std::time::{Duration, Instant};

use messaging::ledger::{CommitError, DeliveryLog as _, StoreErrorKind, Transactions as _};
use mongo::Mongo;

use crate::database::{TestDatabase, committed, eventually, kind, partition};
use crate::proxy::{Fault, Proxy};

async fn behind(proxy: &Proxy, database: &TestDatabase) -> Mongo {
    Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB is reachable through the proxy")
}

#[tokio::test]
async fn a_commit_is_retried_when_its_response_is_lost() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    // More often than the driver itself would retry.
    proxy.disturb(Fault::LoseCommitResponse, 5);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server responds")
    );
    store.commit(tx).await.expect("the commit is found");
    let positions = store.positions(&[partition()]).await.expect("the server responds");
    assert_eq!(positions[&partition()], 7);
}

#[tokio::test]
async fn a_commit_without_a_response_is_unknown_and_the_position_shows_its_outcome() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    proxy.disturb(Fault::LoseCommitResponse, usize::MAX);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server responds")
    );
    let error = store.commit(tx).await.expect_err("the response is lost");
    assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");

    proxy.disturb(Fault::None, 0);
    let positions = store.positions(&[partition()]).await.expect("the server responds");
    assert_eq!(positions[&partition()], 7);
}

#[tokio::test]
async fn a_commit_that_never_arrives_leaves_nothing_and_blocks_no_other() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    proxy.disturb(Fault::LoseCommit, usize::MAX);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server responds")
    );
    let error = store.commit(tx).await.expect_err("the response is lost");
    assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");

    proxy.disturb(Fault::None, 0);
    let positions = store.positions(&[partition()]).await.expect("the server responds");
    assert!(positions.is_empty());
    // The server still has the transaction. The next one that conflicts with it ends it.
    eventually("the position is free", || async {
        committed(&store, async |tx| store.advance(tx, &partition(), None, 7).await)
            .await
            .ok()
    })
    .await;
}

#[tokio::test]
async fn an_unresponsive_server_is_detected() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    let mut tx = store.begin().await.expect("a transaction");
    proxy.disturb(Fault::Freeze, 0);
    let since = Instant::now();
    let error = kind(store.advance(&mut tx, &partition(), None, 7).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    store.rollback(tx).await;

    proxy.disturb(Fault::None, 0);
    eventually("the server is found again", || async { store.ping().await.ok() }).await;
}

#[tokio::test]
async fn an_unreachable_server_is_detected() {
    let since = Instant::now();
    // Nothing listens on port 1.
    let error = Mongo::connect("mongodb://127.0.0.1:1/nowhere")
        .await
        .expect_err("no server listens");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_url_must_name_a_database() {
    let error = Mongo::connect("mongodb://127.0.0.1:1/")
        .await
        .expect_err("the URL names no database");
    assert_eq!(error.kind, StoreErrorKind::Broken);
}
