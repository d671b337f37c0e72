//! The relay on the real broker: what was committed is published, whoever crashes.

use std::time::{Duration, Instant};

use contracts::{EventCancelled, EventEvent, Timestamp, topics};
use messaging::ledger::{Ledger as _, OutboxMessage, StoreErrorKind};
use messaging::{Headers, MAX_VALUE_BYTES, Outgoing, header};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use uuid::Uuid;

use super::process::{DEADLINE, Process, framer, outbox_is_empty};
use super::service::{Store, happened};
use crate::eventually;
use crate::inside::Inside as _;
use crate::kafka::KafkaTopics;

const DELIVERIES: &str = "rollcall_relay_published_total";

/// The first of three is not delivered, the others are; it comes after them, and consumers put it in front.
pub async fn first_of_three_times_out<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    // The broker refuses it as a time-out would: the delivery fails, the row stays.
    kafka.configure(&topics::EVENTS, "max.message.bytes", "2000").await;
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, &"x".repeat(4_000))]).await;
    process.metric_reaches(DELIVERIES, "failed", 1.0).await;
    process.publish([happened(key, 2, ""), happened(key, 3, "")]).await;
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    kafka.configure(&topics::EVENTS, "max.message.bytes", "1048588").await;
    outbox_is_empty(&store).await;

    let records = kafka.records(&topics::EVENTS).await;
    let numbers: Vec<_> = records.iter().map(|record| number(&record.headers)).collect();
    assert_eq!(numbers, [2, 3, 1]);
    let consumer = framer(&store, &kafka.settings());
    consumer.deliver_records(records).await;
    assert_eq!(consumer.numbers(key).await, [1, 2, 3]);
}

fn number(headers: &Headers) -> i64 {
    let number = headers.get(header::SEQUENCE).expect("domain events have a number");
    number.parse().expect("it is a number")
}

/// A producer with a fatal error takes nothing any more; the next one publishes what it left.
pub async fn fatal_producer_error_makes_a_new_producer<S: Store>() {
    let broker = MockCluster::new(1).expect("a broker that obeys");
    broker.create_topic("events", 1, 1).expect("a topic");
    // What a broker answers that no longer lets this client produce.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    broker.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let mut settings = messaging::kafka::Settings::new(broker.bootstrap_servers());
    settings.delivery_timeout = Duration::from_millis(500);
    let store = S::fresh().await;
    let process = Process::relay(&store, settings);
    let key = Uuid::now_v7();
    // It fails while it has nothing to send, so no delivery tells. Nor does anything else that a test could wait for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.publish([happened(key, 1, ""), happened(key, 2, "")]).await;
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    outbox_is_empty(&store).await;
    process.publish([happened(key, 3, "")]).await;
    outbox_is_empty(&store).await;
    process.stop().await;
}

/// A store that refuses at once is asked again after a pause: the relay's loop must not spin.
pub async fn a_store_that_is_down_is_asked_to_delete_after_pauses<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let pause = process.faults.pause_before("acknowledge");
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    pause.reached().await;
    process.faults.down(true);
    process.faults.calls();
    pause.go_on();
    // A loop that spins would not let this end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deletions = process.faults.calls();
    let deletions = deletions.iter().filter(|call| **call == "acknowledge").count();
    assert!((1..=6).contains(&deletions), "{deletions} in a second");
    process.faults.down(false);
    outbox_is_empty(&store).await;
    process.stop().await;
}

/// A deletion makes progress while a sweep waits for the store. A store with one free connection would otherwise hang:
/// the deletion would hold the connection that the sweep waits for.
pub async fn rows_are_deleted_while_a_sweep_waits<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let deletion = process.faults.pause_before("acknowledge");
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    deletion.reached().await;
    let sweep = process.faults.pause_before("sweep");
    process.publisher.request_sweep();
    sweep.reached().await;
    deletion.go_on();
    outbox_is_empty(&store).await;
    sweep.go_on();
    process.stop().await;
}

/// Its lease ran out, and nobody else is there to adopt: it goes on under a new one, and adopts itself.
pub async fn lost_lease_of_a_single_process_recovers<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let mut settings = kafka.settings();
    settings.lease = Duration::from_millis(1_500);
    let lease = settings.lease;
    let process = Process::relay(&store, settings);
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, "")]).await;
    outbox_is_empty(&store).await;
    let lost = process.publisher.owner();
    eventually("it has a lease", DEADLINE, || async {
        let live = store.ledger().renew_lease(lost, lease).await.expect("an answer");
        live.then_some(())
    })
    .await;

    store.ledger().drop_lease(lost).await.expect("its lease is over");
    process.publish([happened(key, 2, "")]).await;
    append(
        &store,
        lost,
        process.publisher.frame(&cause(), happened(key, 3, "")).expect("framed"),
    )
    .await;
    outbox_is_empty(&store).await;
    eventually("it has another lease", DEADLINE, || async {
        let owner = process.publisher.owner();
        let live = store.ledger().renew_lease(owner, lease).await.expect("an answer");
        (owner != lost && live).then_some(())
    })
    .await;
    let mut numbers: Vec<_> = kafka
        .records(&topics::EVENTS)
        .await
        .iter()
        .map(|record| number(&record.headers))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3]);
}

/// Appended by one process, which ends; published by whoever lives when it falls due.
pub async fn due_row_survives_a_restart<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let first = Process::relay(&store, kafka.settings());
    let due_at = Timestamp::now() + Duration::from_millis(400);
    first.publish([happened(Uuid::now_v7(), 1, "").due_at(due_at)]).await;
    assert!(store.ledger().outbox().await.is_empty(), "it belongs to nobody");
    drop(first);

    let second = Process::relay(&store, kafka.settings());
    second.metric_reaches(DELIVERIES, "delivered", 1.0).await;
    outbox_is_empty(&store).await;
    let records = kafka.records(&topics::EVENTS).await;
    assert_eq!(records.len(), 1);
    assert!(
        records[0].timestamp >= due_at - Duration::from_millis(50),
        "not before its time"
    );
}

/// A dead process's rows, those it had committed and one that is committed after it was given up.
pub async fn rows_of_a_dead_process_are_published<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let (dead, ledger, key) = (Uuid::now_v7(), store.ledger(), Uuid::now_v7());
    let process = Process::relay(&store, kafka.settings());
    let frame = |sequence| {
        process
            .publisher
            .frame(&cause(), happened(key, sequence, ""))
            .expect("framed")
    };
    let mut late = ledger.begin().await.expect("a transaction begins");
    ledger.append(&mut late, dead, &[frame(2)]).await.expect("appended");
    append(&store, dead, frame(1)).await;
    process.metric_reaches(DELIVERIES, "delivered", 1.0).await;
    ledger.commit(late).await.expect("committed");
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    outbox_is_empty(&store).await;
}

/// What was committed with an unknown outcome is found by a sweep, at once.
pub async fn unknown_commit_is_swept<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, "")]).await;
    outbox_is_empty(&store).await;
    process.faults.commit(crate::CommitFault::UnknownCommitted);
    let mut unit = messaging::Unit::begin(process.ledger(), &process.publisher)
        .await
        .expect("begun");
    unit.publish(&cause(), happened(key, 2, "")).expect("said");
    unit.commit().await.expect_err("nobody knows");
    let before = Instant::now();
    outbox_is_empty(&store).await;
    assert!(before.elapsed() < Duration::from_secs(2), "not by the slow sweep");
}

/// A store that is away when rows are to be deleted gets its deletions later; nothing is published twice for it.
pub async fn acknowledgement_is_repeated<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    for _ in 0..3 {
        process.faults.fail("acknowledge", StoreErrorKind::Unavailable);
    }
    let key = Uuid::now_v7();
    process.publish((1..=5).map(|number| happened(key, number, ""))).await;
    outbox_is_empty(&store).await;
    assert_eq!(kafka.records(&topics::EVENTS).await.len(), 5);
    let partition = messaging::TopicPartition::new(kafka.name(&topics::EVENTS), 0);
    assert_eq!(store.ledger().acknowledged().await, [(partition, 4)]);
}

/// Whoever drains publishes what it has committed, and gives its lease back.
pub async fn drain_publishes_what_was_said<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let key = Uuid::now_v7();
    for number in 1..=20 {
        process.publish([happened(key, number, "")]).await;
    }
    let owner = process.publisher.owner();
    process.stop().await;
    assert_eq!(store.ledger().outbox().await, []);
    let renewed = store.ledger().renew_lease(owner, Duration::from_secs(1)).await;
    assert!(!renewed.expect("an answer"), "its lease is over");
    let numbers: Vec<_> = kafka
        .records(&topics::EVENTS)
        .await
        .iter()
        .map(|record| number(&record.headers))
        .collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

/// A row that no broker takes is tried again and again, but neither hotly nor in front of the others.
pub async fn undeliverable_row_is_in_nobodys_way<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let mut nowhere = process
        .publisher
        .frame(&cause(), happened(Uuid::now_v7(), 1, ""))
        .expect("framed");
    nowhere.topic = format!("{}nowhere", kafka.prefix());
    append(&store, process.publisher.owner(), nowhere).await;
    process.publisher.request_sweep();
    process.metric_reaches(DELIVERIES, "failed", 1.0).await;

    process.faults.calls();
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(1) {
        count += 1;
        process.publish([happened(Uuid::now_v7(), 1, "")]).await;
        process.metric_reaches(DELIVERIES, "delivered", f64::from(count)).await;
    }
    let sweeps = process
        .faults
        .calls()
        .into_iter()
        .filter(|call| *call == "sweep")
        .count();
    assert!(sweeps < 20, "{sweeps} sweeps in a second");
    assert!(count > 3, "only {count} messages came through in a second");
}

/// What the outbox takes, the broker takes.
pub async fn largest_message_is_published<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let of = |bytes: usize| {
        let event = EventCancelled {
            reason: "x".repeat(bytes),
            cancelled_at: Timestamp::now(),
        };
        Outgoing::<EventEvent>::new(Uuid::now_v7(), event).sequence(1)
    };
    let framed = process
        .publisher
        .frame(&cause(), of(MAX_VALUE_BYTES - 100))
        .expect("framed");
    let rest = MAX_VALUE_BYTES - framed.value.expect("it has a value").len();
    let largest = of(MAX_VALUE_BYTES - 100 + rest);
    process
        .publisher
        .frame(&cause(), of(MAX_VALUE_BYTES - 99 + rest))
        .expect_err("one byte too many");
    process.publish([largest]).await;
    outbox_is_empty(&store).await;
    let records = kafka.records(&topics::EVENTS).await;
    let sizes: Vec<_> = records
        .iter()
        .map(|record| record.value.as_ref().map(bytes::Bytes::len))
        .collect();
    assert_eq!(sizes, [Some(MAX_VALUE_BYTES)]);
}

async fn append<S: Store>(store: &S, owner: Uuid, message: OutboxMessage) {
    let ledger = store.ledger();
    let mut tx = ledger.begin().await.expect("a transaction begins");
    ledger.append(&mut tx, owner, &[message]).await.expect("appended");
    ledger.commit(tx).await.expect("committed");
}

fn cause() -> messaging::Cause {
    messaging::Cause::origin(Uuid::now_v7(), None, opentelemetry::Context::new())
}
