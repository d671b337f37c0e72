//! The relay on the real broker: every committed message is published, whichever process crashes.

use std::time::{Duration, Instant};

use contracts::{EventCancelled, EventEvent, Timestamp, topics};
use messaging::ledger::{Outbox as _, OutboxMessage, StoreErrorKind, Transactions as _};
use messaging::{Headers, MAX_VALUE_BYTES, Outgoing, header};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use uuid::Uuid;

use super::process::{DEADLINE, Process, framer, wait_for_empty_outbox};
use super::service::{Store, happened};
use crate::eventually;
use crate::inside::Inside as _;
use crate::kafka::KafkaTopics;

const DELIVERIES: &str = "rollcall_relay_published_total";

/// The first of three messages is not delivered at first. It is published after the others, and consumers reorder it.
pub async fn first_of_three_times_out<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    // The broker rejects the message, which has the same effect as a timeout: the delivery fails, and the row stays.
    kafka.configure(&topics::EVENTS, "max.message.bytes", "2000").await;
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, &"x".repeat(4_000))]).await;
    process.metric_reaches(DELIVERIES, "failed", 1.0).await;
    process.publish([happened(key, 2, ""), happened(key, 3, "")]).await;
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    kafka.configure(&topics::EVENTS, "max.message.bytes", "1048588").await;
    wait_for_empty_outbox(&store).await;

    let records = kafka.records(&topics::EVENTS).await;
    let numbers: Vec<_> = records.iter().map(|record| number(&record.headers)).collect();
    assert_eq!(numbers, [2, 3, 1]);
    let consumer = framer(&store, &kafka.settings());
    consumer.deliver_records(records).await;
    assert_eq!(consumer.numbers(key).await, [1, 2, 3]);
}

fn number(headers: &Headers) -> i64 {
    let number = headers.get(header::SEQUENCE).expect("the domain event has a sequence");
    number.parse().expect("the sequence is a number")
}

/// A producer with a fatal error accepts no messages. Its replacement publishes the rows that it left.
pub async fn fatal_producer_error_makes_a_new_producer<S: Store>() {
    let broker = MockCluster::new(1).expect("the mock broker starts");
    broker.create_topic("events", 1, 1).expect("the topic is created");
    // The error of a broker that does not allow this client to produce any more.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    broker.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
    let mut settings = messaging::kafka::Settings::new(broker.bootstrap_servers());
    settings.delivery_timeout = Duration::from_millis(500);
    let store = S::fresh().await;
    let process = Process::relay(&store, settings);
    let key = Uuid::now_v7();
    // The producer fails while it has nothing to send, so a test cannot wait for an effect.
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.publish([happened(key, 1, ""), happened(key, 2, "")]).await;
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    wait_for_empty_outbox(&store).await;
    process.publish([happened(key, 3, "")]).await;
    wait_for_empty_outbox(&store).await;
    process.stop().await;
}

/// Deletions are repeated after a pause if the store fails immediately, so the relay's loop does not spin.
pub async fn deletions_pause_while_the_store_is_down<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let pause = process.faults.pause_before("acknowledge");
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    pause.reached().await;
    process.faults.set_down(true);
    process.faults.calls();
    pause.resume();
    // A loop that spins would block this runtime.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deletions = process.faults.calls();
    let deletions = deletions.iter().filter(|call| **call == "acknowledge").count();
    assert!((1..=6).contains(&deletions), "{deletions} deletions in one second");
    process.faults.set_down(false);
    wait_for_empty_outbox(&store).await;
    process.stop().await;
}

/// A deletion makes progress while a sweep waits for the store. With one database connection, the relay would otherwise
/// hang, because the deletion would hold the connection that the sweep waits for.
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
    deletion.resume();
    wait_for_empty_outbox(&store).await;
    sweep.resume();
    process.stop().await;
}

/// A single process whose lease expired continues with a new lease, and adopts its own rows.
pub async fn lost_lease_of_a_single_process_recovers<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let mut settings = kafka.settings();
    settings.lease = Duration::from_millis(1_500);
    let lease = settings.lease;
    let process = Process::relay(&store, settings);
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, "")]).await;
    wait_for_empty_outbox(&store).await;
    let lost = process.publisher.owner();
    eventually("the process has a lease", DEADLINE, || async {
        let live = store
            .ledger()
            .renew_lease(lost, lease)
            .await
            .expect("the store responds");
        live.then_some(())
    })
    .await;

    store.ledger().end_lease(lost).await.expect("the lease is ended");
    process.publish([happened(key, 2, "")]).await;
    append(
        &store,
        lost,
        process
            .publisher
            .frame(&cause(), happened(key, 3, ""))
            .expect("the message can be framed"),
    )
    .await;
    wait_for_empty_outbox(&store).await;
    eventually("the process has another lease", DEADLINE, || async {
        let owner = process.publisher.owner();
        let live = store
            .ledger()
            .renew_lease(owner, lease)
            .await
            .expect("the store responds");
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

/// A delayed row of a process that ended is published by another process when it falls due.
pub async fn due_row_survives_a_restart<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let first = Process::relay(&store, kafka.settings());
    let due_at = Timestamp::now() + Duration::from_millis(400);
    first.publish([happened(Uuid::now_v7(), 1, "").due_at(due_at)]).await;
    assert!(store.ledger().outbox().await.is_empty(), "the row has no owner");
    drop(first);

    let second = Process::relay(&store, kafka.settings());
    second.metric_reaches(DELIVERIES, "delivered", 1.0).await;
    wait_for_empty_outbox(&store).await;
    let records = kafka.records(&topics::EVENTS).await;
    assert_eq!(records.len(), 1);
    assert!(
        records[0].timestamp >= due_at - Duration::from_millis(50),
        "the message is not published before it is due"
    );
}

/// The rows of dead processes are published, including a row that is committed after the first adoption.
pub async fn rows_of_a_dead_process_are_published<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let (dead, ledger, key) = (Uuid::now_v7(), store.ledger(), Uuid::now_v7());
    let process = Process::relay(&store, kafka.settings());
    let frame = |sequence| {
        process
            .publisher
            .frame(&cause(), happened(key, sequence, ""))
            .expect("the message can be framed")
    };
    let mut late = ledger.begin().await.expect("a transaction begins");
    ledger
        .append(&mut late, dead, &[frame(2)])
        .await
        .expect("the message is appended");
    append(&store, dead, frame(1)).await;
    process.metric_reaches(DELIVERIES, "delivered", 1.0).await;
    ledger.commit(late).await.expect("the transaction is committed");
    process.metric_reaches(DELIVERIES, "delivered", 2.0).await;
    wait_for_empty_outbox(&store).await;
}

/// Rows of a commit with an unknown outcome are found immediately by a sweep.
pub async fn unknown_commit_is_swept<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let key = Uuid::now_v7();
    process.publish([happened(key, 1, "")]).await;
    wait_for_empty_outbox(&store).await;
    process.faults.commit(crate::CommitFault::UnknownCommitted);
    let mut unit = messaging::Unit::begin(process.ledger(), &process.publisher)
        .await
        .expect("a transaction begins");
    unit.publish(&cause(), happened(key, 2, ""))
        .expect("the message can be appended");
    unit.commit().await.expect_err("the outcome is unknown");
    let before = Instant::now();
    wait_for_empty_outbox(&store).await;
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "the slow sweep found the row"
    );
}

/// Deletions are repeated after the store was unavailable, and no message is published twice.
pub async fn acknowledgement_is_repeated<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    for _ in 0..3 {
        process.faults.fail("acknowledge", StoreErrorKind::Unavailable);
    }
    let key = Uuid::now_v7();
    process.publish((1..=5).map(|number| happened(key, number, ""))).await;
    wait_for_empty_outbox(&store).await;
    assert_eq!(kafka.records(&topics::EVENTS).await.len(), 5);
    let partition = messaging::TopicPartition::new(kafka.name(&topics::EVENTS), 0);
    assert_eq!(store.ledger().acknowledged_offsets().await, [(partition, 4)]);
}

/// Acknowledged rows are collected, so that a slow stream of messages does not cost a statement for each of them.
pub async fn acknowledgements_are_collected<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    wait_for_empty_outbox(&store).await;
    process.faults.calls();
    let begin = Instant::now();
    for count in 2..=50 {
        process.publish([happened(Uuid::now_v7(), 1, "")]).await;
        process.metric_reaches(DELIVERIES, "delivered", f64::from(count)).await;
    }
    wait_for_empty_outbox(&store).await;
    let statements = process.faults.calls();
    let statements = statements.iter().filter(|call| **call == "acknowledge").count();
    let most = begin.elapsed().as_millis() / 100 + 2;
    assert!(statements as u128 <= most, "{statements} statements deleted 49 rows");
}

/// The lease is renewed while every other statement of the relay waits for the store.
pub async fn lease_is_renewed_while_the_store_is_slow<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let mut settings = kafka.settings();
    settings.lease = Duration::from_millis(1_500);
    let process = Process::relay(&store, settings);
    process.publish([happened(Uuid::now_v7(), 1, "")]).await;
    wait_for_empty_outbox(&store).await;
    let owner = process.publisher.owner();
    let slow = ["adopt", "take_due", "outbox_gauge"].map(|call| process.faults.pause_before(call));
    // One of them is reached first, and then the others wait behind it.
    eventually("a statement waits", DEADLINE, || async {
        let calls = process.faults.calls();
        let waits = |call: &&str| ["adopt", "take_due", "outbox_gauge"].contains(call);
        calls.iter().any(waits).then_some(())
    })
    .await;
    for _ in 0..5 {
        eventually("the lease is renewed", DEADLINE, || async {
            process.faults.calls().contains(&"renew_lease").then_some(())
        })
        .await;
    }
    assert_eq!(process.publisher.owner(), owner, "the lease has not expired");
    drop(slow);
    process.stop().await;
}

/// A draining process publishes its committed messages, and ends its lease.
pub async fn drain_publishes_every_committed_message<S: Store>() {
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
    assert!(!renewed.expect("the store responds"), "the lease is ended");
    let numbers: Vec<_> = kafka
        .records(&topics::EVENTS)
        .await
        .iter()
        .map(|record| number(&record.headers))
        .collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

/// A row that the broker rejects is retried with pauses, and does not delay other rows.
pub async fn an_undeliverable_row_does_not_delay_other_rows<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let process = Process::relay(&store, kafka.settings());
    let mut undeliverable = process
        .publisher
        .frame(&cause(), happened(Uuid::now_v7(), 1, ""))
        .expect("the message can be framed");
    undeliverable.topic = format!("{}nowhere", kafka.prefix());
    append(&store, process.publisher.owner(), undeliverable).await;
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
    assert!(sweeps < 20, "{sweeps} sweeps in one second");
    assert!(count > 3, "only {count} messages were published in one second");
}

/// The largest message that the outbox accepts is published.
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
        .expect("the message can be framed");
    let rest = MAX_VALUE_BYTES - framed.value.expect("the message has a value").len();
    let largest = of(MAX_VALUE_BYTES - 100 + rest);
    process
        .publisher
        .frame(&cause(), of(MAX_VALUE_BYTES - 99 + rest))
        .expect_err("the message is one byte too large");
    process.publish([largest]).await;
    wait_for_empty_outbox(&store).await;
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
    ledger
        .append(&mut tx, owner, &[message])
        .await
        .expect("the message is appended");
    ledger.commit(tx).await.expect("the transaction is committed");
}

fn cause() -> messaging::Cause {
    messaging::Cause::origin(Uuid::now_v7(), None, opentelemetry::Context::new())
}
