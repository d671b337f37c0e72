//! The consumer on the real broker: assignments, positions, queues.

use std::collections::HashSet;

use bytes::Bytes;
use contracts::replies::Reply;
use contracts::{OpsCommand, ProcessStatusState, ReleaseKey, SkipOffset, topics};
use messaging::ledger::{DeliveryLog as _, Transactions as _};
use messaging::{Headers, Outgoing, Record, TopicPartition};
use uuid::Uuid;

use super::process::{DEADLINE, Process, framer, wait_for_effects};
use super::service::{Service, Store, happened, order};
use crate::eventually;
use crate::faulty::FaultyLedger;
use crate::inside::Inside as _;
use crate::kafka::{KafkaTopics, invalid_utf8};

/// Returns the first domain events of `count` keys, all on one partition.
fn records<S: Store>(framer: &Service<S>, partition: i32, count: usize) -> Vec<Record> {
    let mut records: Vec<_> = (0..count)
        .map(|_| framer.record(happened(Uuid::now_v7(), 1, "")))
        .collect();
    for record in &mut records {
        record.partition.partition = partition;
    }
    records
}

/// A partition is revoked while its lane waits with a batch, and its queue holds more records. The new owner applies
/// all of them, and the old lane none.
pub async fn records_of_an_old_assignment_are_discarded<S: Store>() {
    const EACH: usize = 30;
    // Together with the partition of `ops.commands`, two of four partitions move, so at least one belongs to this topic.
    const PARTITIONS: usize = 3;
    let kafka = KafkaTopics::create(PARTITIONS as i32).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let of_partition: [_; PARTITIONS] = std::array::from_fn(|partition| records(&framer, partition as i32, EACH));
    let ids = of_partition
        .each_ref()
        .map(|records| records.iter().map(id).collect::<HashSet<_>>());
    kafka.produce(&of_partition.concat()).await;
    let mut settings = kafka.settings();
    settings.batch = 5;
    // Each partition has its own lane, so all of them wait at the same time.
    settings.lanes = PARTITIONS;

    let ledger = FaultyLedger::new(store.ledger());
    let pauses: [_; PARTITIONS] = std::array::from_fn(|_| ledger.faults().pause_before("advance"));
    let first = Process::on_events(&store, settings.clone(), ledger);
    for pause in &pauses {
        pause.reached().await; // each lane has a batch
    }
    let second = Process::on_events(&store, settings.clone(), FaultyLedger::new(store.ledger()));
    let name = kafka.name(&topics::EVENTS);
    let moved = eventually("a partition moves, and its records are applied", DEADLINE, || async {
        let assigned = second.assigned();
        let applied = |(topic, _, position): &&(String, i32, i64)| *topic == name && *position == EACH as i64;
        assigned
            .iter()
            .find(applied)
            .map(|(_, partition, _)| *partition as usize)
    })
    .await;
    drop(pauses);
    wait_for_effects(&store, PARTITIONS * EACH).await;

    let effects: Vec<_> = store.effects().await.iter().map(|entry| entry.id).collect();
    assert_eq!(effects.len(), PARTITIONS * EACH);
    assert_eq!(
        effects.iter().collect::<HashSet<_>>().len(),
        PARTITIONS * EACH,
        "each record takes effect once"
    );
    let handled: Vec<_> = first.hooks.batches().concat();
    assert!(
        handled.iter().all(|id| !ids[moved].contains(id)),
        "the old lane handled no record of the partition"
    );

    // The partition returns to the first process.
    second.stop().await;
    kafka.produce(&records(&framer, moved as i32, 3)).await;
    wait_for_effects(&store, PARTITIONS * EACH + 3).await;
    assert_eq!(store.effects().await.len(), PARTITIONS * EACH + 3);
    first.stop().await;
}

fn id(record: &Record) -> Uuid {
    let id = record.headers.get(messaging::header::ID).expect("the record has an id");
    id.parse().expect("the record has an id")
}

/// If unread records were deleted, or the topic was recreated, the partition stops and raises an alert. The other
/// partitions continue.
pub async fn position_outside_the_log_stops<S: Store>() {
    let kafka = KafkaTopics::create(3).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    for partition in 0..3 {
        kafka.produce(&records(&framer, partition, 5)).await;
    }
    let name = kafka.name(&topics::EVENTS);
    store_position(&store, &name, 0, None, 100).await;
    store_position(&store, &name, 1, None, 2).await;
    kafka.delete_records(&topics::EVENTS, 1, 4).await;

    let mut settings = kafka.settings();
    settings.batch = 1;
    settings.partition_queue = 1;
    let process = Process::whole(&store, settings);
    wait_for_effects(&store, 5).await;
    process.metric_reaches("rollcall_stopped_partitions", "", 2.0).await;
    let positions = store
        .ledger()
        .positions(&[TopicPartition::new(&name, 0), TopicPartition::new(&name, 1)])
        .await;
    let mut positions: Vec<_> = positions.expect("positions").into_values().collect();
    positions.sort_unstable();
    assert_eq!(positions, [2, 100]);

    // The same while the process runs: records that it has not fetched are deleted.
    let pause = process.faults.pause_before("advance");
    kafka.produce(&records(&framer, 2, 40)).await;
    pause.reached().await;
    kafka.delete_records(&topics::EVENTS, 2, 45).await;
    pause.resume();
    process.metric_reaches("rollcall_stopped_partitions", "", 3.0).await;
    assert!(
        store.effects().await.len() < 45,
        "the worker skipped the deleted records"
    );
    process.stop().await;
}

async fn store_position<S: Store>(store: &S, topic: &str, partition: i32, from: Option<i64>, position: i64) {
    let ledger = store.ledger();
    let mut tx = ledger.begin().await.expect("a transaction begins");
    let partition = TopicPartition::new(topic, partition);
    assert!(
        ledger
            .advance(&mut tx, &partition, from, position)
            .await
            .expect("the store responds")
    );
    ledger.commit(tx).await.expect("committed");
}

/// With more records than a queue holds, the partition is paused, and no record is lost, repeated or reordered.
pub async fn full_queue_loses_nothing<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let key = Uuid::now_v7();
    let records: Vec<_> = (1..=150)
        .map(|number| framer.record(happened(key, number, "")))
        .collect();
    kafka.produce(&records).await;
    let mut settings = kafka.settings();
    settings.batch = 20;
    settings.partition_queue = 10;
    let process = Process::whole(&store, settings);
    wait_for_effects(&store, records.len()).await;
    let effects: Vec<_> = store.effects().await.iter().map(|entry| entry.number).collect();
    assert_eq!(effects, (1..=150).collect::<Vec<_>>());
    let gaps = process.metric("rollcall_gaps_total", "");
    assert!(gaps == 0.0, "{gaps} records were out of order");
    process.stop().await;
}

/// A partition whose queue is full is paused. When it is revoked and assigned again, it is not paused any more.
pub async fn a_paused_partition_that_comes_back_is_consumed<S: Store>() {
    const EACH: usize = 30;
    const PARTITIONS: usize = 3;
    let kafka = KafkaTopics::create(PARTITIONS as i32).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    for partition in 0..PARTITIONS {
        kafka.produce(&records(&framer, partition as i32, EACH)).await;
    }
    let mut settings = kafka.settings();
    settings.batch = 2;
    settings.partition_queue = 2;
    // Long enough that the watchdog does not act: only the resume on revocation is tested.
    settings.stall_alarm = 2 * DEADLINE;
    let ledger = FaultyLedger::new(store.ledger());
    let pauses: [_; PARTITIONS] = std::array::from_fn(|_| ledger.faults().pause_before("advance"));
    let first = Process::on_events(&store, settings.clone(), ledger);
    for pause in &pauses {
        pause.reached().await; // each lane has a batch, and each queue fills up
    }
    let second = Process::on_events(&store, settings, FaultyLedger::new(store.ledger()));
    eventually("a partition moves", DEADLINE, || async {
        (!second.assigned().is_empty()).then_some(())
    })
    .await;
    second.stop().await;
    drop(pauses);
    wait_for_effects(&store, PARTITIONS * EACH).await;
    assert_eq!(store.effects().await.len(), PARTITIONS * EACH);
    first.stop().await;
}

/// The same for a partition that stopped because its position was outside the log, after an operator corrected the
/// position.
pub async fn a_stopped_partition_that_comes_back_is_consumed<S: Store>() {
    // Together with the partition of `ops.commands`, two of four partitions move, so at least one belongs to this topic.
    const PARTITIONS: i32 = 3;
    let kafka = KafkaTopics::create(PARTITIONS).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let name = kafka.name(&topics::EVENTS);
    for partition in 0..PARTITIONS {
        kafka.produce(&records(&framer, partition, 5)).await;
        store_position(&store, &name, partition, None, 100).await;
    }
    let mut settings = kafka.settings();
    settings.stall_alarm = 2 * DEADLINE;
    let first = Process::on_events(&store, settings.clone(), FaultyLedger::new(store.ledger()));
    first.metric_reaches("rollcall_stopped_partitions", "", 3.0).await;
    for partition in 0..PARTITIONS {
        store_position(&store, &name, partition, Some(100), 2).await;
    }
    let second = Process::on_events(&store, settings, FaultyLedger::new(store.ledger()));
    let moved = eventually("a partition moves, and its records are applied", DEADLINE, || async {
        let assigned = second.assigned();
        let applied = |(topic, _, position): &&(String, i32, i64)| *topic == name && *position == 5;
        assigned.iter().find(applied).map(|(_, partition, _)| *partition)
    })
    .await;
    second.stop().await;
    kafka.produce(&records(&framer, moved, 2)).await;
    first.metric_reaches("rollcall_messages_total", &name, 2.0).await;
    first.stop().await;
}

/// The records next to a hostile record of a third-party producer are applied.
pub async fn a_record_that_is_hostile_on_the_wire_stops_no_neighbour<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let hostile = |change: &dyn Fn(&mut Record)| {
        let mut record = framer.record(happened(Uuid::now_v7(), 1, ""));
        change(&mut record);
        record
    };
    let header = |name: String, value: &str| (name, value.to_owned());
    let hostile = [
        hostile(&|record| record.headers.0.insert(0, header(invalid_utf8(), "caf\u{e9}"))),
        hostile(&|record| record.headers.0.push(header(String::new(), ""))),
        hostile(&|record| record.headers.0.push(header("x".repeat(40_000), &"\0".repeat(40_000)))),
        hostile(&|record| record.headers.0.extend((0..5_000).map(|_| header("a".to_owned(), "b")))),
        hostile(&|record| record.headers = Headers::default()),
        hostile(&|record| record.key = Some(vec![0xff; 40_000].into())),
        hostile(&|record| (record.key, record.value) = (None, None)),
        hostile(&|record| record.value = Some(Bytes::from_static(b"\0"))),
    ];
    kafka.produce(&hostile).await;
    let record = framer.record(happened(Uuid::now_v7(), 1, ""));
    kafka.produce_at(&record, i64::MAX).await;
    kafka.produce(&records(&framer, 0, 1)).await;

    let process = Process::whole(&store, kafka.settings());
    // The first four are valid with an additional header; the ninth has a timestamp outside the calendar.
    wait_for_effects(&store, 6).await;
    eventually("the others are dead-lettered or parked", DEADLINE, || async {
        let dead = store.ledger().dead_letters().await.len();
        let parked = store.ledger().parked_records().await.len();
        ((dead, parked) == (3, 1)).then_some(())
    })
    .await;
    assert_eq!(store.effects().await.len(), 6);
    process.stop().await;

    let partition = TopicPartition::new(kafka.name(&topics::EVENTS), 0);
    let mut batches = messaging::read::read(&kafka.settings(), partition, 0, 10, 100);
    let mut read = 0;
    while let Some(batch) = batches.recv().await {
        read += batch.expect("the log can be read").len();
    }
    assert_eq!(read, 10);
}

/// A worker that ends unexpectedly leaves its partition without a worker, so the process must end.
pub async fn a_worker_that_ends_also_ends_the_process<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let ledger = FaultyLedger::new(store.ledger());
    ledger.faults().panic_at("advance");
    let mut process = Process::armed(&store, kafka.settings(), ledger);
    kafka.produce(&records(&framer, 0, 1)).await;
    process.listening_ends().await.expect_err("the worker has ended");
    drop(process);

    let next = Process::whole(&store, kafka.settings());
    wait_for_effects(&store, 1).await;
    next.stop().await;
}

/// An operator releases a key through Kafka: the parked messages are applied, and the operator gets a reply.
pub async fn key_is_released_by_command<S: Store>() {
    let kafka = KafkaTopics::create(2).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let process = Process::whole(&store, kafka.settings());
    let key = Uuid::now_v7();
    let parked = [happened(key, 1, "poison:well"), happened(key, 2, "")].map(|event| framer.record(event));
    kafka.produce(&parked).await;
    eventually("the messages are parked", DEADLINE, || async {
        (store.ledger().parked_records().await.len() == 2).then_some(())
    })
    .await;
    process.hooks.fix("well");
    let release = |service: &str, topic: &str| {
        let release = ReleaseKey {
            service: service.to_owned(),
            topic: topic.to_owned(),
            parked_key: key,
        };
        Outgoing::<OpsCommand>::new(Uuid::now_v7(), release)
    };
    let [others, unknown, ours, again] = [
        release("another-service", "events"),
        release("conformance", "no-topic"),
        release("conformance", "events"),
        release("conformance", "events"),
    ];
    let ids = [others.id, unknown.id, ours.id, again.id];
    let commands = [others, unknown, ours, again].map(|command| {
        let mut record = framer.record(command);
        record.partition.partition = 0; // the topic has one partition
        record
    });
    let replies = kafka.name(&topics::GATEWAY_REPLIES);
    kafka.produce(&commands[..3]).await;
    process
        .metric_reaches("rollcall_relay_published_total", &replies, 2.0)
        .await;
    kafka.produce(&commands[3..]).await;
    process
        .metric_reaches("rollcall_relay_published_total", &replies, 3.0)
        .await;
    process.stop().await;

    assert_eq!(framer.numbers(key).await, [1, 2]);
    let replies = kafka.records(&topics::GATEWAY_REPLIES).await;
    let outcome = |id: Uuid| outcome(&framer, &replies, id);
    assert_eq!(outcome(ids[0]), None, "a command for another service gets no reply");
    assert_eq!(outcome(ids[1]).as_deref(), Some("topic-unknown"));
    assert_eq!(outcome(ids[2]).as_deref(), Some(r#"{"applied":2,"poisoned_at":null}"#));
    assert_eq!(outcome(ids[3]).as_deref(), Some("not-parked"));
}

/// As a last resort, an operator skips a record that is retried forever, and the partition continues.
pub async fn an_offset_is_skipped_by_command<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let process = Process::whole(&store, kafka.settings());
    let events = ["retry", "", "retry", ""].map(|order| framer.record(happened(Uuid::now_v7(), 1, order)));
    let name = kafka.name(&topics::EVENTS);
    kafka.produce(&events[..2]).await;
    process.metric_reaches("rollcall_batch_retries_total", &name, 2.0).await;

    let skip = |topic: &str, offset, reason: &str| {
        let skip = SkipOffset {
            service: "conformance".to_owned(),
            topic: topic.to_owned(),
            partition: 0,
            offset,
            reason: reason.to_owned(),
        };
        Outgoing::<OpsCommand>::new(Uuid::now_v7(), skip)
    };
    let commands = [
        skip("events", 1, "not reached yet"),
        skip("events", 2, "not written yet"),
        skip("events", 0, " "),
        skip("ops.commands", 3, "the handler moves this position"),
        skip("no-topic", 0, "unknown topic"),
        skip("events", 0, "retried forever"),
        skip("events", 0, "skipped before"),
        skip("events", 2, "retried forever"),
    ];
    let ids = commands.each_ref().map(|command| command.id);
    let commands = commands.map(|command| framer.record(command));
    kafka.produce(&commands[..7]).await;
    kafka.produce(&commands[..7]).await;
    wait_for_effects(&store, 1).await;
    let retries = process.metric("rollcall_batch_retries_total", &name);
    kafka.produce(&events[2..]).await;
    process
        .metric_reaches("rollcall_batch_retries_total", &name, retries + 2.0)
        .await;
    kafka.produce(&commands[7..]).await;
    wait_for_effects(&store, 2).await;
    let replies = kafka.name(&topics::GATEWAY_REPLIES);
    process
        .metric_reaches("rollcall_relay_published_total", &replies, 8.0)
        .await;
    process.stop().await;

    let effects: Vec<_> = store.effects().await.iter().map(|entry| entry.id).collect();
    assert_eq!(effects, [id(&events[1]), id(&events[3])]);
    let replies = kafka.records(&topics::GATEWAY_REPLIES).await;
    let outcomes = ids.map(|id| outcome(&framer, &replies, id).expect("every command gets a reply"));
    assert_eq!(
        outcomes,
        [
            "position-differs",
            "record-not-found",
            "reason-missing",
            "topic-unknown",
            "topic-unknown",
            r#"{"position":1}"#,
            "position-differs",
            r#"{"position":3}"#
        ]
    );
}

/// Returns the result or the code of the reply to a command.
fn outcome<S: Store>(framer: &Service<S>, replies: &[Record], command: Uuid) -> Option<String> {
    let mut replies = replies
        .iter()
        .map(|record| crate::bench::decode::<Reply>(&framer.codec(), record).body);
    replies.find_map(|reply| match reply {
        Reply::CommandAccepted(reply) if reply.command_id == command => reply.result,
        Reply::CommandRejected(reply) if reply.command_id == command => Some(reply.code),
        _ => None,
    })
}

/// A process reports the pending messages of its service and the age of gaps, and publishes a tombstone when it ends.
pub async fn status_counts_pending_messages_and_ends_with_a_tombstone<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let (poisoned, gap) = (Uuid::now_v7(), Uuid::now_v7());
    // The second message of each key is a fork.
    let events = [(poisoned, 1), (gap, 2), (poisoned, 1), (gap, 2)];
    let events = events.map(|(key, number)| framer.record(happened(key, number, "poison:well")));
    let dead = framer.record(order(Uuid::now_v7(), "poison:well"));
    kafka.produce(&[&events[..], &[dead]].concat()).await;
    let first = Process::whole(&store, kafka.settings());
    let topic = kafka.name(&topics::EVENTS);
    eventually("all messages are parked or dead-lettered", DEADLINE, || async {
        let parked = store.ledger().parked_records().await.len();
        (parked == 2 && store.ledger().dead_letters().await.len() == 3).then_some(())
    })
    .await;
    first.metric_reaches("rollcall_forks_total", &topic, 2.0).await;
    first.stop().await;

    // A process reports immediately after its start.
    let second = Process::whole(&store, kafka.settings());
    second.metric_reaches("rollcall_parked_keys", &topic, 1.0).await;
    second
        .metric_reaches("rollcall_oldest_gap_age_seconds", &topic, 0.001)
        .await;
    second.stop().await;
    let records = kafka.records(&topics::OPS_STATUS).await;
    let states = records
        .iter()
        .map(|record| crate::bench::decode::<ProcessStatusState>(&framer.codec(), record));
    let mut processes: Vec<(Uuid, Vec<ProcessStatusState>)> = Vec::new();
    for state in states {
        match processes.last_mut() {
            Some((process, states)) if *process == state.envelope.key => states.push(state.body),
            _ => processes.push((state.envelope.key, vec![state.body])),
        }
    }
    assert_eq!(processes.len(), 2, "{processes:?}");
    for (_, states) in &processes {
        assert_eq!(states.last(), Some(&ProcessStatusState::Tombstone), "{states:?}");
    }
    let ProcessStatusState::ProcessStatus(status) = &processes[1].1[0] else {
        panic!("the first state is a status");
    };
    assert_eq!((status.parked_keys, status.dead_letters), (1, 3));
    assert!(status.oldest_gap_age_ms > 0, "{status:?}");
}

/// A store that does not respond at all does not delay the end of a process that is collecting its status.
pub async fn a_hanging_status_report_does_not_delay_the_drain<S: Store>() {
    let kafka = KafkaTopics::create(1).await;
    let store = S::fresh().await;
    let ledger = FaultyLedger::new(store.ledger());
    let hangs = ledger.faults().pause_before("pending_topics");
    let process = Process::armed(&store, kafka.settings(), ledger);
    hangs.reached().await;
    let stopped = tokio::time::timeout(DEADLINE, process.stop()).await;
    stopped.expect("the process ends");
}

/// A command passes through a whole process: it is decided, its reply and its domain event are published, and the
/// process drains.
pub async fn a_process_replies_to_a_command<S: Store>() {
    let kafka = KafkaTopics::create(2).await;
    let store = S::fresh().await;
    let framer = framer(&store, &kafka.settings());
    let process = Process::whole(&store, kafka.settings());
    let key = Uuid::now_v7();
    let commands: Vec<_> = (0..20).map(|_| framer.record(order(key, "add"))).collect();
    kafka.produce(&commands).await;
    kafka.produce(&commands[3..7]).await;
    eventually("the commands are decided", DEADLINE, || async {
        (store.journaled().await.len() == 20).then_some(())
    })
    .await;
    process.stop().await;
    let users = kafka.records(&topics::USERS).await;
    assert_eq!(users.len(), 20, "a drained process leaves nothing to publish");
    assert_eq!(kafka.records(&topics::GATEWAY_REPLIES).await.len(), 20);
    assert_eq!(store.journaled().await.len(), 20);
}
