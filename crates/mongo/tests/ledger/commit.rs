//! Commits whose answer is lost, servers that hang or are not there.

use std::time::{Duration, Instant};

use messaging::ledger::{CommitError, DeliveryLog as _, StoreErrorKind, Transactions as _};
use mongo::Mongo;

use crate::database::{TestDatabase, committed, eventually, kind, partition};
use crate::proxy::{Fault, Proxy};

async fn behind(proxy: &Proxy, database: &TestDatabase) -> Mongo {
    Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB answers behind the proxy")
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_asked_for_again() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    // More than the driver itself would try.
    proxy.disturb(Fault::LoseCommitAnswer, 5);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server answers")
    );
    store.commit(tx).await.expect("it is there");
    let positions = store.positions(&[partition()]).await.expect("the server answers");
    assert_eq!(positions[&partition()], 7);
}

#[tokio::test]
async fn a_commit_that_is_never_answered_is_unknown_and_the_position_tells() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    proxy.disturb(Fault::LoseCommitAnswer, usize::MAX);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server answers")
    );
    let error = store.commit(tx).await.expect_err("nobody answers");
    assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");

    proxy.disturb(Fault::None, 0);
    let positions = store.positions(&[partition()]).await.expect("the server answers");
    assert_eq!(positions[&partition()], 7);
}

#[tokio::test]
async fn a_commit_that_never_arrives_leaves_nothing_and_holds_nobody_up() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = behind(&proxy, &database).await;
    proxy.disturb(Fault::LoseCommit, usize::MAX);
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 7)
            .await
            .expect("the server answers")
    );
    let error = store.commit(tx).await.expect_err("nobody answers");
    assert!(matches!(error, CommitError::Unknown(_)), "{error:?}");

    proxy.disturb(Fault::None, 0);
    let positions = store.positions(&[partition()]).await.expect("the server answers");
    assert!(positions.is_empty());
    // The server still has the transaction; whoever meets it ends it.
    eventually("the position is free", || async {
        committed(&store, async |tx| store.advance(tx, &partition(), None, 7).await)
            .await
            .ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed() {
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
async fn a_server_that_is_not_there_is_noticed() {
    let since = Instant::now();
    // Nothing listens on port 1.
    let error = Mongo::connect("mongodb://127.0.0.1:1/nowhere")
        .await
        .expect_err("nobody is there");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_url_must_name_a_database() {
    let error = Mongo::connect("mongodb://127.0.0.1:1/").await.expect_err("no database");
    assert_eq!(error.kind, StoreErrorKind::Broken);
}
