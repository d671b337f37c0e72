//! Lanes: many partitions in one transaction, and what a failure in one of them means for the others.

use std::collections::BTreeSet;

use contracts::{DeadLetterReason, NotificationFact, NotificationFailed, NotificationKind, Timestamp, topics};
use messaging::Outgoing;
use uuid::Uuid;

use super::service::{Service, Store, happened, order};
use crate::faulty::CommitFault;

const PARTITIONS: i32 = 4;

/// Returns a key of each partition.
fn keys() -> Vec<Uuid> {
    (1..=PARTITIONS as u128)
        .map(|n| Uuid::from_u128(Uuid::now_v7().as_u128() / 64 * 64 + n))
        .collect()
}

fn fact() -> Outgoing<NotificationFact> {
    let failed = NotificationFailed {
        notification_id: Uuid::now_v7(),
        event_id: None,
        kind: NotificationKind::Welcome,
        cause_id: Uuid::now_v7(),
        reason: String::new(),
        failed_at: Timestamp::now(),
    };
    Outgoing::new(Uuid::now_v7(), failed)
}

fn commits(calls: &[&str]) -> usize {
    calls.iter().filter(|call| **call == "commit").count()
}

/// Returns the number of transactions, committed or not.
fn begins(calls: &[&str]) -> usize {
    calls.iter().filter(|call| **call == "begin").count()
}

/// Commands, domain events and facts of all partitions take effect in one transaction.
pub async fn records_of_many_partitions_share_a_transaction<S: Store>() {
    let service = Service::<S>::with_partitions(PARTITIONS).await;
    let (counters, events) = (keys(), keys());
    for number in 1..=2 {
        for (counter, event) in counters.iter().zip(&events) {
            service.append(order(*counter, "add"));
            service.append(happened(*event, number, ""));
            service.append(fact());
        }
    }
    service.faults.calls();
    service.catch_up_in_one_lane().await;
    let calls = service.faults.calls();
    assert_eq!(commits(&calls), 1, "{calls:?}");
    for call in ["advance", "insert_inbox", "sequences", "set_sequences", "append"] {
        assert_eq!(
            calls.iter().filter(|made| **made == call).count(),
            1,
            "{call}: {calls:?}"
        );
    }
    for key in counters {
        assert_eq!(service.versions(key).await, [1, 2]);
    }
    for key in events {
        assert_eq!(service.numbers(key).await, [1, 2]);
    }
    service.catch_up_in_one_lane().await;
    assert_eq!(
        service.faults.calls().iter().filter(|call| **call == "begin").count(),
        0,
        "nothing is left"
    );
}

/// One bad record among 256 costs a logarithmic number of transactions, and affects no other record.
pub async fn a_poison_record_costs_few_transactions<S: Store>() {
    const RECORDS: usize = 256;
    for bad in [0, 100, RECORDS - 1] {
        let service = Service::<S>::with_partitions(PARTITIONS).await;
        let commands: Vec<_> = (0..RECORDS)
            .map(|index| order(Uuid::now_v7(), if index == bad { "poison:well" } else { "add" }))
            .collect();
        for command in &commands {
            service.append(command.clone());
        }
        service.faults.calls();
        service.catch_up_in_one_lane().await;
        let transactions = begins(&service.faults.calls());
        assert!(transactions <= 24, "{transactions} transactions for {RECORDS} records");
        let dead = service.dead_letters().await;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].reason, DeadLetterReason::Poison);
        assert_eq!(service.store.journaled().await.len(), RECORDS - 1);
    }
}

/// Another process has applied the records of one partition. The others continue, and nothing is applied twice.
pub async fn a_mismatch_affects_one_partition<S: Store>() {
    let one = Service::<S>::with_partitions(PARTITIONS).await;
    let other = one.another();
    let keys = keys();
    for key in &keys {
        one.append(order(*key, "add"));
    }
    // The lane reads its positions. Before its transaction begins, another process applies one partition.
    let pause = one.faults.pause_before("begin");
    let overtaken = async {
        pause.reached().await;
        let partition = (keys[0].as_u128() % PARTITIONS as u128) as i32;
        other.catch_up_on(&topics::USERS_COMMANDS, partition).await;
        pause.resume();
    };
    tokio::join!(one.catch_up_in_one_lane(), overtaken);
    for key in keys {
        assert_eq!(one.versions(key).await, [1]);
    }
}

/// A handler that can never succeed, for a reason that no message causes, holds up its own partition only.
pub async fn a_partition_that_keeps_failing_waits_alone<S: Store>() {
    let service = Service::<S>::with_partitions(PARTITIONS).await;
    let keys = keys();
    service.append(happened(keys[0], 1, "retry"));
    for key in &keys[1..] {
        service.append(happened(*key, 1, ""));
        service.append(order(*key, "add"));
    }
    let others: BTreeSet<_> = keys[1..].iter().copied().collect();
    service
        .work_in_one_lane_until(|| async {
            let effects = service.store.effects().await;
            effects.iter().map(|entry| entry.key).collect::<BTreeSet<_>>() == others
                && service.store.journaled().await.len() == others.len()
        })
        .await;
    assert!(service.numbers(keys[0]).await.is_empty());
}

/// While the registry is unreachable, a record with an unknown schema waits. Other partitions continue.
pub async fn an_unknown_schema_holds_up_its_partition_only<S: Store>() {
    // Nothing listens on this port.
    let nowhere = contracts::Registry::new("http://127.0.0.1:9");
    let service = Service::<S>::with_registry_at(nowhere).await.partitions(PARTITIONS);
    let keys = keys();
    let mut unknown = service.record(happened(keys[0], 1, ""));
    let mut value = unknown.value.expect("a domain event has a value").to_vec();
    // The schema id follows the magic byte.
    value[1..5].copy_from_slice(&7_i32.to_be_bytes());
    unknown.value = Some(value.into());
    service.append_records(vec![unknown]);
    for key in &keys[1..] {
        service.append(happened(*key, 1, ""));
    }
    service
        .work_in_one_lane_until(|| async { service.store.effects().await.len() == keys.len() - 1 })
        .await;
    assert!(service.numbers(keys[0]).await.is_empty());
}

/// A command that conflicts every time, with fresh state, is dead-lettered in the end.
pub async fn a_conflict_without_an_end_is_dead_lettered<S: Store>() {
    let service = Service::<S>::start().await;
    let (bad, good) = (Uuid::now_v7(), Uuid::now_v7());
    service.append(order(bad, "conflict"));
    service.append(order(good, "add"));
    service.catch_up_in_one_lane().await;
    let dead = service.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert!(dead[0].detail.contains("conflicted"), "{}", dead[0].detail);
    assert_eq!(service.versions(good).await, [1]);
}

/// More messages wait behind a gap than one transaction applies. Neither a record of another topic in the same batch nor a
/// crash in between leaves some of them parked.
pub async fn a_long_gap_is_applied_in_steps<S: Store>() {
    const WAITING: i64 = 2_300;
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    for number in 2..=WAITING {
        service.append(happened(key, number, ""));
    }
    service.catch_up().await;
    assert_eq!(service.parked().await.len(), WAITING as usize - 1);
    service.append(happened(key, 1, ""));
    service.append(fact());
    service.faults.calls();
    // The second of three steps fails, and its process crashes.
    service.faults.commit(CommitFault::UnknownCommitted);
    service.catch_up().await;
    service.restart();
    service.catch_up().await;
    assert_eq!(service.parked().await, []);
    assert_eq!(service.numbers(key).await, (1..=WAITING).collect::<Vec<_>>());
}

/// A release of many messages takes several transactions. It can be repeated after each of them.
pub async fn a_long_release_is_applied_in_steps<S: Store>() {
    const WAITING: i64 = 2_300;
    let service = Service::<S>::start().await;
    let key = Uuid::now_v7();
    service.append(happened(key, 1, "poison:well"));
    for number in 2..=WAITING {
        service.append(happened(key, number, ""));
    }
    service.catch_up().await;
    service.parked().await;
    service.hooks.fix("well");
    let released = service.release(&topics::EVENTS, key).await;
    assert_eq!(released.applied, WAITING as usize);
    assert_eq!(released.poisoned_at, None);
    assert_eq!(service.parked().await, []);
    assert_eq!(service.numbers(key).await, (1..=WAITING).collect::<Vec<_>>());
    service.deliver(happened(key, WAITING + 1, "")).await;
    assert_eq!(service.numbers(key).await.len() as i64, WAITING + 1);
}

/// A commit of unknown outcome succeeds late. The lane finds its position moved, and its messages are published immediately.
pub async fn late_commit_of_a_lane_is_swept<S: Store>() {
    let service = Service::<S>::with_partitions(PARTITIONS).await;
    let keys = keys();
    for key in &keys {
        service.append(order(*key, "add"));
    }
    let late = service.faults.commit_late();
    let committed_late = async {
        late.requested().await;
        late.complete().await;
    };
    tokio::join!(service.catch_up_in_one_lane(), committed_late);
    for key in &keys {
        assert_eq!(service.versions(*key).await, [1]);
    }
    assert_eq!(service.users().await.len(), keys.len());
}
