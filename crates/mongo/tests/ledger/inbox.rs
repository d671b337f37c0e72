//! The inbox and its races.

use std::collections::HashSet;
use std::time::Duration;

use contracts::Timestamp;
use messaging::ledger::{DeliveryLog as _, InboxEntry, Maintenance as _, StoreErrorKind, Transactions as _};
use mongo::Mongo;
use uuid::Uuid;

use crate::database::{TestDatabase, committed, kind};

fn entry(attempt: i32, since: Timestamp) -> InboxEntry {
    InboxEntry {
        id: Uuid::now_v7(),
        attempt,
        since,
    }
}

async fn remember(store: &Mongo, entries: &[InboxEntry]) -> HashSet<(Uuid, i32)> {
    committed(store, async |tx| store.insert_inbox(tx, entries).await)
        .await
        .expect("nobody else is there")
}

#[tokio::test]
async fn a_message_is_fresh_once_also_within_a_batch() {
    let database = TestDatabase::new().await;
    let first = entry(0, Timestamp::now());
    let again = InboxEntry { attempt: 1, ..first };
    let both = HashSet::from([(first.id, 0), (first.id, 1)]);
    assert_eq!(remember(&database.store, &[first, first, again, first]).await, both);
    assert_eq!(remember(&database.store, &[again, first]).await, HashSet::new());
    assert_eq!(remember(&database.store, &[]).await, HashSet::new());
    let other = entry(0, Timestamp::now());
    assert_eq!(
        remember(&database.store, &[first, other]).await,
        HashSet::from([(other.id, 0)])
    );
}

#[tokio::test]
async fn two_transactions_can_not_both_enter_a_message() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let message = entry(0, Timestamp::now());
    let mut first = store.begin().await.expect("a transaction");
    let mut second = store.begin().await.expect("a transaction");
    assert_eq!(store.insert_inbox(&mut first, &[message]).await.expect("free").len(), 1);
    let refused = kind(store.insert_inbox(&mut second, &[message]).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    store.rollback(second).await;
    store.commit(first).await.expect("the first wins");
    assert_eq!(remember(store, &[message]).await, HashSet::new());
}

#[tokio::test]
async fn a_message_that_was_entered_after_the_snapshot_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (message, other) = (entry(0, Timestamp::now()), entry(0, Timestamp::now()));
    let mut late = store.begin().await.expect("a transaction");
    store.insert_inbox(&mut late, &[other]).await.expect("free");
    remember(store, &[message]).await;
    let refused = kind(store.insert_inbox(&mut late, &[message]).await);
    assert!(
        matches!(refused, StoreErrorKind::Unavailable | StoreErrorKind::Conflict),
        "{refused:?}"
    );
    store.rollback(late).await;
}

#[tokio::test]
async fn only_what_is_older_than_the_retention_is_forgotten() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let retention = Duration::from_secs(24 * 60 * 60);
    let young = entry(0, Timestamp::now());
    let within = entry(0, Timestamp::now() - retention);
    let old = entry(0, Timestamp::now() - retention * 2);
    remember(store, &[young, within, old]).await;
    store.housekeeping(retention).await.expect("the server answers");
    let fresh = remember(store, &[young, within, old]).await;
    assert_eq!(fresh, HashSet::from([(old.id, 0)]));
}
