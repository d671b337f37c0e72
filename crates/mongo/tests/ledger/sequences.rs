//! Sequences and parked messages.

use messaging::ledger::{DeliveryLog as _, Parked, Sequence, StoreErrorKind, Transactions as _};
use mongo::Mongo;
use uuid::Uuid;

use crate::database::{TestDatabase, committed, kind, record};

const TOPIC: &str = "users";

fn at(last: i64) -> Sequence {
    Sequence {
        last,
        last_id: Some(Uuid::now_v7()),
        ..Sequence::default()
    }
}

fn parked_record(key: Uuid, sequence: i64) -> Parked {
    Parked {
        key,
        sequence,
        id: Uuid::now_v7(),
        record: record(),
        error: String::new(),
    }
}

async fn set(store: &Mongo, new: &[(Uuid, Sequence)], changed: &[(Uuid, Sequence)]) {
    committed(store, async |tx| store.set_sequences(tx, TOPIC, new, changed).await)
        .await
        .expect("no other transaction is open");
}

async fn park(store: &Mongo, rows: &[Parked]) {
    committed(store, async |tx| store.park(tx, TOPIC, rows).await)
        .await
        .expect("no other transaction is open");
}

async fn parked(store: &Mongo, keys: &[Uuid]) -> Vec<Parked> {
    committed(store, async |tx| store.parked(tx, TOPIC, keys).await)
        .await
        .expect("no other transaction is open")
}

#[tokio::test]
async fn sequences_are_kept_by_topic_and_key() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (one, two, unknown) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let poisoned = Sequence {
        poisoned_at: Some(3),
        has_parked: true,
        ..at(2)
    };
    let next = at(8);
    set(store, &[(one, at(7)), (two, poisoned)], &[]).await;
    set(store, &[], &[(one, next)]).await;
    let found = committed(store, async |tx| store.sequences(tx, TOPIC, &[one, two, unknown]).await)
        .await
        .expect("no conflict");
    assert_eq!(found, [(one, next), (two, poisoned)].into());
    let elsewhere = committed(store, async |tx| store.sequences(tx, "events", &[one, two]).await)
        .await
        .expect("no conflict");
    assert_eq!(elsewhere, [].into());
}

#[tokio::test]
async fn a_row_that_another_transaction_has_inserted_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let key = Uuid::now_v7();
    set(store, &[(key, at(1))], &[]).await;
    let refused = committed(store, async |tx| {
        store.set_sequences(tx, TOPIC, &[(key, at(1))], &[]).await
    })
    .await;
    assert_eq!(kind(refused), StoreErrorKind::Conflict);
}

#[tokio::test]
async fn a_missing_row_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let refused = committed(store, async |tx| {
        store.set_sequences(tx, TOPIC, &[], &[(Uuid::now_v7(), at(1))]).await
    })
    .await;
    assert_eq!(kind(refused), StoreErrorKind::Conflict);
}

/// Parking behind a gap may leave `last` and `has_parked` unchanged.
#[tokio::test]
async fn writing_an_unchanged_row_still_conflicts() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let key = Uuid::now_v7();
    let state = Sequence {
        has_parked: true,
        ..at(1)
    };
    set(store, &[(key, state)], &[]).await;
    let mut parks = store.begin().await.expect("a transaction");
    let mut applies = store.begin().await.expect("a transaction");
    store.sequences(&mut parks, TOPIC, &[key]).await.expect("no conflict");
    store.sequences(&mut applies, TOPIC, &[key]).await.expect("no conflict");
    store
        .set_sequences(&mut parks, TOPIC, &[], &[(key, state)])
        .await
        .expect("first");
    store.commit(parks).await.expect("first");
    let refused = kind(store.set_sequences(&mut applies, TOPIC, &[], &[(key, at(2))]).await);
    assert_eq!(refused, StoreErrorKind::Unavailable);
    store.rollback(applies).await;
}

#[tokio::test]
async fn parked_duplicate_is_one_row() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let key = Uuid::now_v7();
    let first = Parked {
        error: "it failed".to_owned(),
        ..parked_record(key, 2)
    };
    park(store, std::slice::from_ref(&first)).await;
    let third = parked_record(key, 3);
    park(store, &[parked_record(key, 2), third.clone(), parked_record(key, 3)]).await;
    assert_eq!(parked(store, &[key]).await, [first, third]);
}

#[tokio::test]
async fn parked_records_are_read_in_order_until_they_are_deleted() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let mut keys = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    keys.sort_unstable();
    let rows: Vec<_> = [(1, 12), (0, 9), (1, 2), (0, 100), (2, 1)]
        .map(|(key, sequence)| parked_record(keys[key], sequence))
        .into();
    park(store, &rows).await;
    let found = parked(store, &keys[..2]).await;
    let order: Vec<_> = found.iter().map(|row| (row.key, row.sequence)).collect();
    assert_eq!(order, [(keys[0], 9), (keys[0], 100), (keys[1], 2), (keys[1], 12)]);
    assert_eq!(found[0], rows[1], "with its bytes and headers");

    committed(store, async |tx| {
        store
            .unpark(tx, TOPIC, &[(keys[0], 9), (keys[1], 12), (keys[2], 77)])
            .await
    })
    .await
    .expect("no conflict");
    let left: Vec<_> = parked(store, &keys).await.into_iter().map(|row| row.sequence).collect();
    assert_eq!(left, [100, 2, 1]);
}
