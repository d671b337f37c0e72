//! A batch costs a handful of round trips, however many messages it has.

use contracts::Timestamp;
use messaging::ledger::{DeliveryLog as _, InboxEntry, Outbox as _, Sequence, Transactions as _};
use mongo::Mongo;
use uuid::Uuid;

use crate::database::{TestDatabase, message, partition};
use crate::proxy::Proxy;

const BATCH: usize = 500;

#[tokio::test]
async fn five_hundred_commands_are_five_round_trips() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB answers");
    let commands: Vec<_> = (0..BATCH)
        .map(|_| InboxEntry {
            id: Uuid::now_v7(),
            attempt: 0,
            since: Timestamp::now(),
        })
        .collect();
    let said: Vec<_> = (0..BATCH).map(|_| message()).collect();
    proxy.commands();

    let mut tx = store.begin().await.expect("a transaction");
    assert!(store.advance(&mut tx, &partition(), None, 500).await.expect("free"));
    assert_eq!(store.insert_inbox(&mut tx, &commands).await.expect("free").len(), BATCH);
    store.append(&mut tx, Uuid::now_v7(), &said).await.expect("free");
    store.commit(tx).await.expect("free");
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
            .expect("free")
    );
    assert_eq!(store.insert_inbox(&mut tx, &commands).await.expect("free").len(), 0);
    store.commit(tx).await.expect("free");
    assert_eq!(proxy.commands(), ["update", "find", "commitTransaction"]);
}

#[tokio::test]
async fn five_hundred_domain_events_are_six_round_trips() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start().await;
    let store = Mongo::connect(&database.url_at(proxy.address))
        .await
        .expect("MongoDB answers");
    let keys: Vec<_> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
    let state = |last| Sequence {
        last,
        last_id: Some(Uuid::now_v7()),
        ..Sequence::default()
    };
    let known: Vec<_> = keys[..250].iter().map(|key| (*key, state(1))).collect();
    let mut tx = store.begin().await.expect("a transaction");
    assert!(store.advance(&mut tx, &partition(), None, 500).await.expect("free"));
    store.set_sequences(&mut tx, "users", &known, &[]).await.expect("free");
    store.commit(tx).await.expect("free");
    proxy.commands();

    let mut tx = store.begin().await.expect("a transaction");
    assert!(
        store
            .advance(&mut tx, &partition(), Some(500), 1_000)
            .await
            .expect("free")
    );
    assert_eq!(store.sequences(&mut tx, "users", &keys).await.expect("free").len(), 250);
    let changed: Vec<_> = keys[..250].iter().map(|key| (*key, state(2))).collect();
    let new: Vec<_> = keys[250..].iter().map(|key| (*key, state(1))).collect();
    store
        .set_sequences(&mut tx, "users", &new, &changed)
        .await
        .expect("free");
    let said: Vec<_> = (0..BATCH).map(|_| message()).collect();
    store.append(&mut tx, Uuid::now_v7(), &said).await.expect("free");
    store.commit(tx).await.expect("free");
    assert_eq!(
        proxy.commands(),
        ["update", "find", "insert", "update", "insert", "commitTransaction"]
    );
}
