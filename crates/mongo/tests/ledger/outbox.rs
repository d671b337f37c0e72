//! The outbox, leases and adoption.

use std::collections::HashSet;
use std::time::Duration;

use contracts::Timestamp;
use messaging::TopicPartition;
use messaging::ledger::{Maintenance as _, Outbox as _, OutboxMessage, OutboxRow, Transactions as _};
use mongo::Mongo;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;
use uuid::Uuid;

use crate::database::{TestDatabase, committed, eventually, message};

const LIMIT: i64 = 1_000;
const LONG: Duration = Duration::from_secs(3_600);

async fn append(store: &Mongo, owner: Uuid, messages: &[OutboxMessage]) -> Vec<Uuid> {
    committed(store, async |tx| store.append(tx, owner, messages).await)
        .await
        .expect("no other transaction is open")
}

async fn sweep(store: &Mongo, owner: Uuid) -> Vec<OutboxRow<Uuid>> {
    store
        .sweep(owner, Duration::ZERO, LIMIT)
        .await
        .expect("the server responds")
}

async fn adopt(store: &Mongo, owner: Uuid) -> Vec<Uuid> {
    let rows = store.adopt(owner, LIMIT).await.expect("the server responds");
    assert!(rows.iter().all(|row| row.owner == owner));
    ids(&rows)
}

async fn take_due(store: &Mongo, owner: Uuid) -> (Vec<OutboxRow<Uuid>>, Option<Duration>) {
    store.take_due(owner, LIMIT).await.expect("the server responds")
}

fn ids(rows: &[OutboxRow<Uuid>]) -> Vec<Uuid> {
    rows.iter().map(|row| row.id).collect()
}

fn due(at: Timestamp) -> OutboxMessage {
    OutboxMessage {
        due_at: Some(at),
        ..message()
    }
}

#[tokio::test]
async fn appended_messages_are_read_unchanged_and_in_order() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let owner = Uuid::now_v7();
    let tombstone = OutboxMessage {
        value: None,
        ..message()
    };
    let mut messages = vec![message(), tombstone];
    let mut appended = append(store, owner, &messages).await;
    let later: Vec<_> = (0..300).map(|_| message()).collect();
    appended.extend(append(store, owner, &later).await);
    messages.extend(later);

    let rows = sweep(store, owner).await;
    assert_eq!(ids(&rows), appended);
    assert!(rows.iter().all(|row| row.owner == owner));
    assert_eq!(rows.into_iter().map(|row| row.message).collect::<Vec<_>>(), messages);
    let first: Vec<_> = store
        .sweep(owner, Duration::ZERO, 5)
        .await
        .expect("the server responds");
    assert_eq!(ids(&first), appended[..5]);
    assert_eq!(sweep(store, Uuid::now_v7()).await.len(), 0);
    assert_eq!(append(store, owner, &[]).await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn an_uncommitted_row_is_not_visible() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let owner = Uuid::now_v7();
    let mut tx = store.begin().await.expect("a transaction");
    store.append(&mut tx, owner, &[message()]).await.expect("appended");
    assert_eq!(sweep(store, owner).await.len(), 0);
    assert_eq!(adopt(store, Uuid::now_v7()).await, Vec::<Uuid>::new());
    store.commit(tx).await.expect("no conflict");
    assert_eq!(sweep(store, owner).await.len(), 1);
}

#[tokio::test]
async fn a_sweep_with_a_minimum_age_skips_younger_rows() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let owner = Uuid::now_v7();
    append(store, owner, &[message()]).await;
    let settled = store.sweep(owner, LONG, LIMIT).await.expect("the server responds");
    assert_eq!(settled.len(), 0);
    eventually("the row is a millisecond old", || async {
        let settled = store.sweep(owner, Duration::from_millis(1), LIMIT).await.ok()?;
        (settled.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_delayed_row_has_no_owner_until_it_is_due() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (owner, heir) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(take_due(store, heir).await.1, None);
    let at = Timestamp::now() + LONG;
    append(store, owner, &[due(at)]).await;
    assert_eq!(sweep(store, owner).await.len(), 0);
    assert_eq!(adopt(store, heir).await, Vec::<Uuid>::new());
    let (rows, next) = take_due(store, heir).await;
    assert_eq!(rows.len(), 0);
    let next = next.expect("one row is delayed");
    assert!(next <= LONG && next > LONG / 2, "{next:?}");

    let soon = due(Timestamp::now() + Duration::from_millis(100));
    append(store, owner, std::slice::from_ref(&soon)).await;
    let rows = eventually("the row is due", || async {
        let (rows, next) = take_due(store, heir).await;
        assert!(next.expect("one row is delayed") <= LONG);
        (!rows.is_empty()).then_some(rows)
    })
    .await;
    assert!(Timestamp::now() >= soon.due_at.expect("delayed"));
    assert_eq!(rows[0].owner, heir);
    assert_eq!(rows[0].message, soon);
    assert_eq!(ids(&sweep(store, heir).await), ids(&rows), "taken rows are own rows");
}

#[tokio::test]
async fn two_relays_never_take_the_same_due_row() {
    let database = TestDatabase::new().await;
    let (one, other) = (&database.store, database.another().await);
    let past = Timestamp::now() - LONG;
    let messages: Vec<_> = (0..400).map(|_| due(past)).collect();
    let appended: HashSet<_> = append(one, Uuid::now_v7(), &messages).await.into_iter().collect();
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let ((ours, _), (theirs, _)) = tokio::join!(take_due(one, first), take_due(&other, second));
    let (ours, theirs) = (ids(&ours), ids(&theirs));
    let both: HashSet<_> = ours.iter().chain(&theirs).copied().collect();
    assert_eq!(both.len(), ours.len() + theirs.len());
    assert_eq!(both, appended);
}

#[tokio::test]
async fn rows_are_adopted_if_their_lease_has_expired_or_does_not_exist() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (leaseless, expired, live, heir) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    store
        .start_lease(expired, Duration::ZERO)
        .await
        .expect("the server responds");
    store.start_lease(live, LONG).await.expect("the server responds");
    let mut orphans = append(store, leaseless, &[message(), message()]).await;
    orphans.extend(append(store, expired, &[message()]).await);
    let kept = append(store, live, &[message()]).await;
    // The heir does not adopt its own rows, even without a lease.
    append(store, heir, &[message()]).await;

    let mut adopted = adopt(store, heir).await;
    adopted.sort_unstable();
    orphans.sort_unstable();
    assert_eq!(adopted, orphans);
    assert_eq!(ids(&sweep(store, live).await), kept);
    assert_eq!(sweep(store, heir).await.len(), 4);
}

#[tokio::test]
async fn commit_after_adoption_is_adopted() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (slow, heir) = (Uuid::now_v7(), Uuid::now_v7());
    store
        .start_lease(slow, Duration::ZERO)
        .await
        .expect("the server responds");
    let mut tx = store.begin().await.expect("a transaction");
    let late = store.append(&mut tx, slow, &[message()]).await.expect("appended");
    let early = append(store, slow, &[message()]).await;
    assert_eq!(adopt(store, heir).await, early);
    store.commit(tx).await.expect("no conflict");
    store.housekeeping(LONG).await.expect("the server responds");
    assert_eq!(adopt(store, heir).await, late);
    assert_eq!(adopt(store, heir).await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn two_relays_never_adopt_the_same_row() {
    let database = TestDatabase::new().await;
    let (one, other) = (&database.store, database.another().await);
    let messages: Vec<_> = (0..400).map(|_| message()).collect();
    let orphans: HashSet<_> = append(one, Uuid::now_v7(), &messages).await.into_iter().collect();
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    one.start_lease(first, LONG).await.expect("the server responds");
    one.start_lease(second, LONG).await.expect("the server responds");
    let (ours, theirs) = tokio::join!(adopt(one, first), adopt(&other, second));
    let both: HashSet<_> = ours.iter().chain(&theirs).copied().collect();
    assert_eq!(both.len(), ours.len() + theirs.len());
    assert_eq!(both, orphans);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_not_renewed() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let owner = Uuid::now_v7();
    assert!(!store.renew_lease(owner, LONG).await.expect("the server responds"));
    store.start_lease(owner, LONG).await.expect("the server responds");
    assert!(
        store
            .renew_lease(owner, Duration::from_millis(50))
            .await
            .expect("the server responds")
    );
    append(store, owner, &[message()]).await;
    eventually("the lease runs out", || async {
        (!adopt(store, Uuid::now_v7()).await.is_empty()).then_some(())
    })
    .await;
    assert!(!store.renew_lease(owner, LONG).await.expect("the server responds"));
    store.start_lease(owner, LONG).await.expect("the server responds");
    assert!(store.renew_lease(owner, LONG).await.expect("the server responds"));
    store.end_lease(owner).await.expect("the server responds");
    assert!(!store.renew_lease(owner, LONG).await.expect("the server responds"));
}

#[tokio::test]
async fn only_the_owner_deletes() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (owner, heir) = (Uuid::now_v7(), Uuid::now_v7());
    let appended = append(store, owner, &[message(), message()]).await;
    let rows: Vec<_> = appended.iter().map(|id| (*id, owner)).collect();
    assert_eq!(adopt(store, heir).await.len(), 2);
    store.acknowledge(&rows, &[]).await.expect("the server responds");
    assert_eq!(sweep(store, heir).await.len(), 2);
    let rows: Vec<_> = appended.iter().map(|id| (*id, heir)).collect();
    store.acknowledge(&rows[..1], &[]).await.expect("the server responds");
    assert_eq!(ids(&sweep(store, heir).await), appended[1..]);
    store.acknowledge(&[], &[]).await.expect("an empty call is allowed");
}

#[tokio::test]
async fn the_newest_acknowledged_offset_stays() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let (users, events) = (TopicPartition::new("users", 1), TopicPartition::new("events", 1));
    store
        .acknowledge(&[], &[(users.clone(), 7), (events.clone(), 1)])
        .await
        .expect("the server responds");
    store
        .acknowledge(&[], &[(users, 5), (events, 2)])
        .await
        .expect("the server responds");
    let offset = async |topic: &str| {
        let offsets = store.collection::<Document>("relay_offsets");
        let id = doc! { "topic": topic, "partition": 1 };
        // Acknowledgements do not wait for the majority.
        let found = offsets.find_one(doc! { "_id": id }).read_concern(ReadConcern::local());
        let found = found.await.expect("the server responds");
        found.and_then(|found| found.get_i64("offset").ok())
    };
    assert_eq!(offset("users").await, Some(7));
    assert_eq!(offset("events").await, Some(2));
}

#[tokio::test]
async fn the_gauge_shows_the_number_and_the_age_of_rows() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let gauge = async || store.outbox_gauge().await.expect("the server responds");
    assert_eq!(gauge().await, messaging::ledger::OutboxGauge::default());
    append(store, Uuid::now_v7(), &[due(Timestamp::now() + LONG)]).await;
    let waits = gauge().await;
    assert_eq!((waits.rows, waits.oldest_age), (1, Duration::ZERO));
    append(store, Uuid::now_v7(), &[message()]).await;
    let young = gauge().await;
    assert_eq!(young.rows, 2);
    assert!(young.oldest_age < LONG / 2, "{young:?}");
    append(store, Uuid::now_v7(), &[due(Timestamp::now() - LONG)]).await;
    let old = gauge().await;
    assert_eq!(old.rows, 3);
    assert!(old.oldest_age >= LONG, "{old:?}");
}

/// The relay queries the outbox every half second, regardless of its size.
#[tokio::test]
async fn the_query_for_due_rows_reads_no_others() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let owner = Uuid::now_v7();
    let now: Vec<_> = (0..200).map(|_| message()).collect();
    let later: Vec<_> = (0..200).map(|_| due(Timestamp::now() + LONG)).collect();
    append(store, owner, &now).await;
    append(store, owner, &later).await;
    append(store, owner, &[due(Timestamp::now() - LONG)]).await;
    let explained = store
        .database()
        .run_command(doc! {
            "explain": {
                "find": "outbox",
                "filter": { "owner": null, "$expr": { "$lte": [
                    "$ready_at", { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] },
                ] } },
                "sort": { "owner": 1, "ready_at": 1, "_id": 1 },
            },
            "verbosity": "executionStats",
        })
        .await
        .expect("the server responds");
    let stats = explained
        .get_document("executionStats")
        .expect("the explanation contains statistics");
    assert_eq!(stats.get_i32("nReturned").expect("a number"), 1);
    assert!(stats.get_i32("totalKeysExamined").expect("a number") < 10, "{stats}");
}
