//! The outbox, and the leases of relays.

use std::time::Duration;

use contracts::Timestamp;
use messaging::TopicPartition;
use messaging::ledger::{Maintenance as _, Outbox as _, OutboxMessage, Transactions as _};
use uuid::Uuid;

use super::{LEASE, message};
use crate::conformance::service::Store;
use crate::eventually;
use crate::inside::Inside as _;

pub async fn outbox_rows_are_swept_in_order<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (owner, other) = (Uuid::now_v7(), Uuid::now_v7());
    let later = OutboxMessage {
        due_at: Some(Timestamp::now() + LEASE),
        ..message("later")
    };
    let tombstone = OutboxMessage {
        value: None,
        ..message("tombstone")
    };
    let messages = [
        message("1"),
        later.clone(),
        tombstone.clone(),
        message("2"),
        message("3"),
    ];
    let ids = committed!(ledger, tx => {
        assert!(ledger.append(&mut tx, owner, &[]).await.expect("an empty call is allowed").is_empty());
        let ids = ledger.append(&mut tx, owner, &messages).await.expect("appended");
        ledger.append(&mut tx, other, &[message("other")]).await.expect("appended");
        ids
    });
    assert_eq!(ids.len(), messages.len());
    // Not visible before the commit, and not after a rollback.
    let mut tx = ledger.begin().await.expect("a transaction begins");
    ledger
        .append(&mut tx, owner, &[message("never")])
        .await
        .expect("appended");
    let rows = ledger.sweep(owner, Duration::ZERO, 100).await.expect("rows");
    ledger.rollback(tx).await;

    let messages: Vec<_> = rows.iter().map(|row| row.message.clone()).collect();
    assert_eq!(messages, [message("1"), tombstone, message("2"), message("3")]);
    assert!(rows.iter().all(|row| row.owner == owner));
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        [ids[0], ids[2], ids[3], ids[4]]
    );
    assert_eq!(ledger.delayed().await, [later]);
    assert_eq!(ledger.sweep(owner, Duration::ZERO, 2).await.expect("rows").len(), 2);
    assert!(
        ledger.sweep(owner, LEASE, 100).await.expect("rows").is_empty(),
        "no row is that old"
    );

    // Only the owner deletes a row.
    ledger.acknowledge(&[(rows[0].id, other)], &[]).await.expect("no error");
    assert_eq!(ledger.sweep(owner, Duration::ZERO, 100).await.expect("rows").len(), 4);
    let partition = TopicPartition::new("a", 3);
    let done: Vec<_> = rows[..2].iter().map(|row| (row.id, row.owner)).collect();
    ledger
        .acknowledge(&done, &[(partition.clone(), 9)])
        .await
        .expect("acknowledged");
    ledger
        .acknowledge(&done, &[(partition.clone(), 8)])
        .await
        .expect("it may be repeated");
    ledger.acknowledge(&[], &[]).await.expect("an empty call is allowed");
    assert_eq!(
        ledger.acknowledged_offsets().await,
        [(partition, 9)],
        "the newest offset stays"
    );
    let left = ledger.sweep(owner, Duration::ZERO, 100).await.expect("rows");
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[3], ids[4]]);

    let gauge = ledger.outbox_gauge().await.expect("measured");
    assert!(gauge.rows >= 3, "{gauge:?}");
    assert!(gauge.oldest_age < LEASE, "a row that is not due has no age: {gauge:?}");
}

pub async fn rows_without_a_live_lease_are_adopted<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let [living, expired, unknown, heir, second] = [(); 5].map(|()| Uuid::now_v7());
    for owner in [living, expired, unknown, heir] {
        let messages = [message("1"), message("2")];
        committed!(ledger, tx => ledger.append(&mut tx, owner, &messages).await.expect("appended"));
    }
    ledger.start_lease(living, LEASE).await.expect("leased");
    ledger
        .start_lease(expired, Duration::from_millis(1))
        .await
        .expect("leased");
    eventually("the lease expires", LEASE, || async {
        let live = ledger
            .renew_lease(expired, Duration::from_millis(1))
            .await
            .expect("a result");
        (!live).then_some(())
    })
    .await;

    let some = ledger.adopt(heir, 1).await.expect("rows");
    assert_eq!(some.len(), 1);
    let rest = ledger.adopt(heir, 100).await.expect("rows");
    assert_eq!(rest.len(), 3, "whether their lease has expired or does not exist");
    assert!(some.iter().chain(&rest).all(|row| row.owner == heir));
    assert!(
        ledger.adopt(heir, 100).await.expect("rows").is_empty(),
        "own rows are not adopted again"
    );
    assert_eq!(ledger.sweep(heir, Duration::ZERO, 100).await.expect("rows").len(), 6);
    assert_eq!(ledger.sweep(living, Duration::ZERO, 100).await.expect("rows").len(), 2);

    // A lease that was ended is not live.
    ledger.end_lease(living).await.expect("ended");
    assert!(!ledger.renew_lease(living, LEASE).await.expect("a result"));
    ledger.start_lease(heir, LEASE).await.expect("leased");
    assert_eq!(ledger.adopt(second, 100).await.expect("rows").len(), 2);
    ledger.start_lease(second, LEASE).await.expect("leased");
    assert!(ledger.renew_lease(second, LEASE).await.expect("a result"));
    ledger
        .end_lease(Uuid::now_v7())
        .await
        .expect("a missing lease is not an error");
}

/// A process counts as dead, and then its commit arrives.
pub async fn commit_after_adoption_is_adopted<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (slow, heir) = (Uuid::now_v7(), Uuid::now_v7());
    ledger.start_lease(heir, LEASE).await.expect("leased");
    committed!(ledger, tx => ledger.append(&mut tx, slow, &[message("1")]).await.expect("appended"));
    let mut tx = ledger.begin().await.expect("a transaction begins");
    ledger.append(&mut tx, slow, &[message("2")]).await.expect("appended");

    assert_eq!(ledger.adopt(heir, 100).await.expect("rows").len(), 1);
    ledger.housekeeping(LEASE).await.expect("cleaned up");
    assert!(ledger.adopt(heir, 100).await.expect("rows").is_empty());
    ledger.commit(tx).await.expect("committed");

    let rows = ledger.adopt(heir, 100).await.expect("rows");
    assert_eq!(
        rows.iter().map(|row| row.message.clone()).collect::<Vec<_>>(),
        [message("2")]
    );
}

pub async fn due_rows_are_taken_once<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let (one, two, writer) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(ledger.take_due(one, 10).await.expect("rows").1, None);
    let at = |text, due_at| OutboxMessage {
        due_at: Some(due_at),
        ..message(text)
    };
    let past = Timestamp::now() - Duration::from_secs(10);
    let mut messages: Vec<_> = (0..20)
        .map(|index| at("due", past + Duration::from_millis(index)))
        .collect();
    messages.push(at("later", Timestamp::now() + Duration::from_secs(1_800)));
    committed!(ledger, tx => ledger.append(&mut tx, writer, &messages).await.expect("appended"));
    assert!(
        ledger
            .sweep(writer, Duration::ZERO, 100)
            .await
            .expect("rows")
            .is_empty(),
        "they have no owner"
    );
    assert!(
        ledger.adopt(one, 100).await.expect("rows").is_empty(),
        "they cannot be adopted"
    );

    let (few, next) = ledger.take_due(one, 4).await.expect("rows");
    assert_eq!((few.len(), next), (4, Some(Duration::ZERO)));
    let (first, second) = tokio::join!(ledger.take_due(one, 100), ledger.take_due(two, 100));
    let (first, second) = (first.expect("rows").0, second.expect("rows").0);
    assert_eq!(first.len() + second.len(), 16, "each row is taken once");
    assert!(first.iter().all(|row| row.owner == one) && second.iter().all(|row| row.owner == two));
    let (none, next) = ledger.take_due(one, 100).await.expect("rows");
    let next = next.expect("one row is delayed");
    assert!(
        none.is_empty() && next > Duration::from_secs(1_700) && next <= Duration::from_secs(1_800),
        "{next:?}"
    );

    // From now on they are ordinary rows.
    let taken = few.len() + first.len();
    assert_eq!(ledger.sweep(one, Duration::ZERO, 100).await.expect("rows").len(), taken);
    let heir = Uuid::now_v7();
    assert_eq!(ledger.adopt(heir, 100).await.expect("rows").len(), 20);
}

/// The deletion of acknowledged rows need not be durable, but a sweep that begins after it does not return them.
pub async fn acknowledged_rows_are_not_swept<S: Store>() {
    let store = S::fresh().await;
    let ledger = store.ledger();
    let owner = Uuid::now_v7();
    let partition = TopicPartition::new("a", 0);
    for offset in 0..20 {
        let ids = committed!(ledger, tx => ledger.append(&mut tx, owner, &[message("1")]).await.expect("appended"));
        let rows: Vec<_> = ids.into_iter().map(|id| (id, owner)).collect();
        ledger
            .acknowledge(&rows, &[(partition.clone(), offset)])
            .await
            .expect("acknowledged");
        let left = ledger.sweep(owner, Duration::ZERO, 10).await.expect("rows");
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(ledger.acknowledged_offsets().await, [(partition, 19)]);
}
