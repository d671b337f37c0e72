use crate::database::{TestDatabase, message, partition};
use contracts::Timestamp;
use messaging::Ledger;
use messaging::ledger::{InboxEntry, OutboxMessage};
use std::time::Instant;
use uuid::Uuid;

#[tokio::test]
async fn timing() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let mut from = None;
    for size in [1usize, 1, 10, 50, 100, 500, 500] {
        let mut times = vec![];
        let rounds = 30;
        for _ in 0..rounds {
            let entries: Vec<_> = (0..size)
                .map(|_| InboxEntry {
                    id: Uuid::now_v7(),
                    attempt: 0,
                    since: Timestamp::now(),
                })
                .collect();
            let said: Vec<_> = (0..size)
                .map(|_| OutboxMessage {
                    value: Some(vec![7u8; 250].into()),
                    ..message()
                })
                .collect();
            let t = Instant::now();
            let mut tx = store.begin().await.unwrap();
            let to = from.unwrap_or(0) + size as i64;
            assert!(store.advance(&mut tx, &partition(), from, to).await.unwrap());
            store.remember(&mut tx, &entries).await.unwrap();
            store.append(&mut tx, Uuid::now_v7(), &said).await.unwrap();
            store.commit(tx).await.unwrap();
            times.push(t.elapsed());
            from = Some(to);
        }
        times.sort();
        eprintln!("{size}: p50 {:?} max {:?}", times[rounds / 2], times[rounds - 1]);
    }
    let t = Instant::now();
    for _ in 0..50 {
        store.outbox_gauge().await.unwrap();
    }
    eprintln!("gauge {:?} {:?}", t.elapsed() / 50, store.outbox_gauge().await.unwrap());
    let t = Instant::now();
    for _ in 0..50 {
        store.take_due(Uuid::now_v7(), 5000).await.unwrap();
    }
    eprintln!("due {:?}", t.elapsed() / 50);
    let me = Uuid::now_v7();
    let t = Instant::now();
    let rows = store.adopt(me, 5000).await.unwrap();
    eprintln!("adopt {} {:?}", rows.len(), t.elapsed());
    let t = Instant::now();
    let n = store.sweep(me, std::time::Duration::ZERO, 5000).await.unwrap().len();
    eprintln!("sweep {n} {:?}", t.elapsed());
    let ack: Vec<_> = rows.iter().map(|r| (r.id, me)).collect();
    let t = Instant::now();
    store.acknowledge(&ack, &[(partition(), 5)]).await.unwrap();
    eprintln!("ack {:?}", t.elapsed());
    let t = Instant::now();
    store.take_lease(me, std::time::Duration::from_secs(3)).await.unwrap();
    eprintln!("lease {:?}", t.elapsed());
    let t = Instant::now();
    store.prepare().await.unwrap();
    eprintln!("prepare again {:?}", t.elapsed());
}
