//! Sequences and parked messages.

use std::collections::HashMap;

use messaging::ledger::{DeliveryLog as _, Parked, Sequence, StoreErrorKind, TopicKey, Transactions as _};
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

fn keys(keys: &[Uuid]) -> Vec<TopicKey> {
    keys.iter().map(|key| TopicKey::new(TOPIC, *key)).collect()
}

fn rows<T: Copy>(rows: &[(Uuid, T)]) -> Vec<(TopicKey, T)> {
    rows.iter()
        .map(|(key, row)| (TopicKey::new(TOPIC, *key), *row))
        .collect()
}

async fn set(store: &Mongo, new: &[(Uuid, Sequence)], changed: &[(Uuid, Sequence)]) {
    committed(store, async |tx| {
        store.set_sequences(tx, &rows(new), &rows(changed)).await
    })
    .await
    .expect("no other transaction is open");
}

async fn park(store: &Mongo, rows: &[Parked]) {
    committed(store, async |tx| store.park(tx, rows).await)
        .await
        .expect("no other transaction is open");
}

async fn parked(store: &Mongo, key: Uuid) -> Vec<Parked> {
    let key = TopicKey::new(TOPIC, key);
    committed(store, async |tx| store.parked(tx, &key, 0, 100).await)
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
    let found = committed(store, async |tx| store.sequences(tx, &keys(&[one, two, unknown])).await)
        .await
        .expect("no conflict");
    assert_eq!(
        found.into_iter().collect::<HashMap<_, _>>(),
        rows(&[(one, next), (two, poisoned)]).into_iter().collect()
    );
    let of_events = [TopicKey::new("events", one), TopicKey::new("events", two)];
    let elsewhere = committed(store, async |tx| store.sequences(tx, &of_events).await)
        .await
        .expect("no conflict");
    assert_eq!(elsewhere, []);
}

#[tokio::test]
async fn a_row_that_another_transaction_has_inserted_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let key = Uuid::now_v7();
    set(store, &[(key, at(1))], &[]).await;
    let refused = committed(store, async |tx| {
        store.set_sequences(tx, &rows(&[(key, at(1))]), &[]).await
    })
    .await;
    assert_eq!(kind(refused), StoreErrorKind::Conflict);
}

#[tokio::test]
async fn a_missing_row_is_a_conflict() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let refused = committed(store, async |tx| {
        store.set_sequences(tx, &[], &rows(&[(Uuid::now_v7(), at(1))])).await
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
    store.sequences(&mut parks, &keys(&[key])).await.expect("no conflict");
    store.sequences(&mut applies, &keys(&[key])).await.expect("no conflict");
    store
        .set_sequences(&mut parks, &[], &rows(&[(key, state)]))
        .await
        .expect("first");
    store.commit(parks).await.expect("first");
    let refused = kind(store.set_sequences(&mut applies, &[], &rows(&[(key, at(2))])).await);
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
    assert_eq!(parked(store, key).await, [first, third]);
}

#[tokio::test]
async fn parked_records_are_read_in_order_until_they_are_deleted() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let [one, two] = [Uuid::now_v7(), Uuid::now_v7()];
    let parked_rows = [(two, 12), (one, 9), (two, 2), (one, 100)].map(|(key, sequence)| parked_record(key, sequence));
    park(store, &parked_rows).await;
    let found = parked(store, one).await;
    assert_eq!(found.iter().map(|row| row.sequence).collect::<Vec<_>>(), [9, 100]);
    assert_eq!(found[0], parked_rows[1], "with its bytes and headers");

    committed(store, async |tx| {
        store.unpark(tx, &rows(&[(one, 9), (two, 12), (two, 77)])).await
    })
    .await
    .expect("no conflict");
    let left = async |key| {
        parked(store, key)
            .await
            .into_iter()
            .map(|row| row.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(left(one).await, [100]);
    assert_eq!(left(two).await, [2]);
}
