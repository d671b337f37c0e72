//! The content of the log.

use audit::finding::FindingKind;
use contracts::{AuditQuery, Kind, Record as _, UserCreated, topics};
use messaging::{Outgoing, Record};
use testing::Bench;
use uuid::Uuid;

use crate::app::{App, all_subscriptions, create_user, deactivated, query, signed_up};

#[test]
fn every_topic_but_the_compacted_ones_is_recorded() {
    let recorded: Vec<_> = audit::recorded().map(|topic| topic.name).collect();
    for topic in topics::ALL {
        assert_eq!(
            recorded.contains(&topic.name),
            topic.kind != Kind::State,
            "{}",
            topic.name
        );
    }
    let subscribed: Vec<_> = all_subscriptions().topics().map(|topic| topic.name).collect();
    assert_eq!(subscribed, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_recorded_once_in_the_order_of_its_partition() {
    let app = App::start().await;
    let users: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();

    app.bench.deliver_all(users.iter().map(|user| signed_up(*user))).await;
    // Kafka delivers the same records again, to the same process and to its successor.
    app.bench.rewind(&topics::USERS, 0, 0).await;
    app.bench.catch_up().await;
    app.bench.restart();
    app.bench.rewind(&topics::USERS, 0, 0).await;
    app.bench.catch_up().await;

    let entries = app.entries().await;
    let positions: Vec<_> = entries.iter().map(|entry| entry.position.to_string()).collect();
    assert_eq!(
        positions,
        ["users-0-0", "users-0-1", "users-0-2", "users-0-3", "users-0-4"]
    );
    let keys: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.key.map(mongo::from_bson))
        .collect();
    assert_eq!(keys, users);
    assert_eq!(entries[0].type_name.as_deref(), Some(UserCreated::NAME));
    assert!(app.findings().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_unchanged_when_all_records_are_delivered_again() {
    let app = App::start().await;
    app.bench
        .deliver_all([signed_up(Uuid::now_v7()), signed_up(Uuid::now_v7())])
        .await;
    let before = app.entries().await;

    app.delete_positions().await;
    app.bench.restart();
    app.bench.deliver(signed_up(Uuid::now_v7())).await;

    assert_eq!(app.entries().await[..2], before);
    assert_eq!(app.entries().await.len(), 3);
    assert!(app.findings().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_does_not_overwrite_the_log() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    let before = app.entries().await;

    app.delete_positions().await;
    let mongo = app.database.ledger();
    let recreated = Bench::new("audit", mongo.clone(), mongo, all_subscriptions());
    recreated.deliver(signed_up(Uuid::now_v7())).await;

    assert_eq!(app.entries().await, before);
    assert_eq!(app.findings().await, [FindingKind::Rewritten]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_repeated_number_is_recorded_with_a_finding() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    app.bench.deliver_again().await;

    assert_eq!(app.entries().await.len(), 2);
    assert_eq!(app.findings().await, [FindingKind::Duplicate]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_number_under_another_id_is_a_fork() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    app.bench
        .deliver_all([signed_up(ada).sequence(1), signed_up(ada).sequence(1)])
        .await;

    assert_eq!(app.findings().await, [FindingKind::Fork]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_a_finding_and_so_is_the_record_that_fills_it() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    app.bench.deliver(signed_up(ada).sequence(1)).await;
    app.bench.deliver(deactivated(ada).sequence(3)).await;
    assert_eq!(app.findings().await, [FindingKind::Gap]);

    app.bench.deliver(deactivated(ada).sequence(2)).await;
    app.bench.deliver(deactivated(ada).sequence(4)).await;
    assert_eq!(app.findings().await, [FindingKind::Gap, FindingKind::Late]);
    assert_eq!(app.entries().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_data_never_reaches_the_log() {
    let app = App::start().await;
    app.bench.deliver(create_user()).await;
    app.bench.deliver_again().await;

    let entries = app.entries().await;
    assert_eq!(entries.len(), 2);
    let entry = &entries[0];
    assert_eq!(entry.content.as_deref(), Some(r#"{"time_zone":"Europe/London"}"#));
    assert!(entry.value.is_none() && entry.sha256.is_some());
    assert!(!format!("{entries:?}").contains("ovelace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_record_is_recorded_with_a_finding() {
    let app = App::start().await;
    let record = Record {
        key: None,
        value: Some(bytes::Bytes::from_static(b"not ours")),
        headers: messaging::Headers::default(),
        ..app.bench.record(signed_up(Uuid::now_v7()))
    };
    app.bench.deliver_records(vec![record]).await;

    let entries = app.entries().await;
    assert_eq!(
        entries[0].value.as_ref().map(|value| value.bytes.as_slice()),
        Some(&b"not ours"[..])
    );
    let expected = [
        FindingKind::MalformedEnvelope,
        FindingKind::Undecodable,
        FindingKind::Unnumbered,
    ];
    assert_eq!(app.findings().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_query_is_recorded_each_time_and_gets_one_reply() {
    let app = App::start().await;
    let message = Outgoing::<AuditQuery>::new(Uuid::now_v7(), query());
    let id = app.bench.deliver(message).await;
    app.bench.deliver_again().await;

    assert_eq!(app.bench.replies(id).await.len(), 1);
    let positions: Vec<_> = app
        .entries()
        .await
        .iter()
        .map(|entry| entry.position.to_string())
        .collect();
    assert_eq!(positions, ["audit.queries-0-0", "audit.queries-0-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_lettered_record_is_in_the_log() {
    let app = App::start().await;
    let mut record = app.bench.record(Outgoing::<AuditQuery>::new(Uuid::now_v7(), query()));
    record.value = Some(bytes::Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]));
    app.bench.deliver_records(vec![record]).await;

    assert_eq!(app.bench.dead_letters().await.len(), 1);
    let entries = app.entries().await;
    // An unreadable command may contain personal data.
    assert!(entries[0].value.is_none() && entries[0].sha256.is_some());
    // The announcement of the dead letter is recorded too.
    app.bench.settle().await;
    let types: Vec<_> = app
        .entries()
        .await
        .into_iter()
        .filter_map(|entry| entry.type_name)
        .collect();
    assert!(
        types.contains(&"rollcall.dead_letters.MessageDeadLettered".to_owned()),
        "{types:?}"
    );
}
