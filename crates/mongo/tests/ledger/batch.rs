//! The number of round trips of a batch does not depend on the number of its messages.

use contracts::Timestamp;
use messaging::ledger::{DeliveryLog as _, InboxEntry, Outbox as _, Sequence, TopicKey, Transactions as _};
use mongo::Mongo;
use uuid::Uuid;

use crate::database::{TestDatabase, message, partition};
use crate::proxy::Proxy;

const BATCH: usize = 500;

#[tokio::test]
async fn five_hundred_commands_take_five_round_trips() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB is reachable");
    let commands: Vec<_> = (0..BATCH)
        .map(|_| InboxEntry {
            id: Uuid::now_v7(),
            attempt: 0,
            since: Timestamp::now(),
        })
        .collect();
    let messages: Vec<_> = (0..BATCH).map(|_| message()).collect();
    proxy.commands();

    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 500)
            .await
            .expect("no conflict")
    );
    assert_eq!(
        store.insert_inbox(&mut tx, &commands).await.expect("no conflict").len(),
        BATCH
    );
    store
        .append(&mut tx, Uuid::now_v7(), &messages)
        .await
        .expect("no conflict");
    store.commit(tx).await.expect("no conflict");
    assert_eq!(
        proxy.commands(),
        ["insert", "find", "insert", "insert", "commitTransaction"]
    );

    // All of them again.
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), Some(500), 1_000)
            .await
            .expect("no conflict")
    );
    assert_eq!(
        store.insert_inbox(&mut tx, &commands).await.expect("no conflict").len(),
        0
    );
    store.commit(tx).await.expect("no conflict");
    assert_eq!(proxy.commands(), ["update", "find", "commitTransaction"]);
}

#[tokio::test]
async fn five_hundred_domain_events_take_six_round_trips() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB is reachable");
    let keys: Vec<_> = (0..BATCH).map(|_| TopicKey::new("users", Uuid::now_v7())).collect();
    let state = |last| Sequence {
        last,
        last_id: Some(Uuid::now_v7()),
        ..Sequence::default()
    };
    let known: Vec<_> = keys[..250].iter().map(|key| (key.clone(), state(1))).collect();
    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), None, 500)
            .await
            .expect("no conflict")
    );
    store.set_sequences(&mut tx, &known, &[]).await.expect("no conflict");
    store.commit(tx).await.expect("no conflict");
    proxy.commands();

    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), Some(500), 1_000)
            .await
            .expect("no conflict")
    );
    assert_eq!(store.sequences(&mut tx, &keys).await.expect("no conflict").len(), 250);
    let changed: Vec<_> = keys[..250].iter().map(|key| (key.clone(), state(2))).collect();
    let new: Vec<_> = keys[250..].iter().map(|key| (key.clone(), state(1))).collect();
    store.set_sequences(&mut tx, &new, &changed).await.expect("no conflict");
    let messages: Vec<_> = (0..BATCH).map(|_| message()).collect();
    store
        .append(&mut tx, Uuid::now_v7(), &messages)
        .await
        .expect("no conflict");
    store.commit(tx).await.expect("no conflict");
    assert_eq!(
        proxy.commands(),
        ["update", "find", "insert", "update", "insert", "commitTransaction"]
    );
}
