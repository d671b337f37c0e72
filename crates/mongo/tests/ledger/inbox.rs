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

async fn insert(store: &Mongo, entries: &[InboxEntry]) -> HashSet<(Uuid, i32)> {
    committed(store, async |tx| store.insert_inbox(tx, entries).await)
        .await
        .expect("no other transaction is open")
}

#[tokio::test]
async fn a_message_is_new_only_once_even_within_a_batch() {
    let database = TestDatabase::new().await;
    let first = entry(0, Timestamp::now());
    let again = InboxEntry { attempt: 1, ..first };
    let both = HashSet::from([(first.id, 0), (first.id, 1)]);
    assert_eq!(insert(&database.store, &[first, first, again, first]).await, both);
    assert_eq!(insert(&database.store, &[again, first]).await, HashSet::new());
    assert_eq!(insert(&database.store, &[]).await, HashSet::new());
    let other = entry(0, Timestamp::now());
    assert_eq!(
        insert(&database.store, &[first, other]).await,
        HashSet::from([(other.id, 0)])
    );
}

#[tokio::test]
async fn two_transactions_cannot_both_insert_a_message() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let message = entry(0, Timestamp::now());
    let mut first = store.begin().await.expect("a transaction");
    let mut second = store.begin().await.expect("a transaction");
    assert_eq!(
        store
            .insert_inbox(&mut first, &[message])
            .await
            .expect("no conflict")
            .len(),
        1
    );
    let error = kind(store.insert_inbox(&mut second, &[message]).await);
    assert_eq!(error, StoreErrorKind::Unavailable);
    store.rollback(second).await;
    store.commit(first).await.expect("the first wins");
    assert_eq!(insert(store, &[message]).await, HashSet::new());
}

#[tokio::test]
async fn a_message_that_was_inserted_after_the_snapshot_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (message, other) = (entry(0, Timestamp::now()), entry(0, Timestamp::now()));
    let mut late = store.begin().await.expect("a transaction");
    store.insert_inbox(&mut late, &[other]).await.expect("no conflict");
    insert(store, &[message]).await;
    let error = kind(store.insert_inbox(&mut late, &[message]).await);
    assert!(
        matches!(error, StoreErrorKind::Unavailable | StoreErrorKind::Conflict),
        "{error:?}"
    );
    store.rollback(late).await;
}

#[tokio::test]
async fn only_entries_older_than_the_retention_are_deleted() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let retention = Duration::from_secs(24 * 60 * 60);
    let young = entry(0, Timestamp::now());
    let within = entry(0, Timestamp::now() - retention);
    let old = entry(0, Timestamp::now() - retention * 2);
    insert(store, &[young, within, old]).await;
    store.housekeeping(retention).await.expect("the server responds");
    let fresh = insert(store, &[young, within, old]).await;
    assert_eq!(fresh, HashSet::from([(old.id, 0)]));
}
