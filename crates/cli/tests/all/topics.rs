use std::time::Duration;

use contracts::topics;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::json;

use crate::rollcall::Rollcall;

#[tokio::test]
async fn topics_are_created_once_and_then_compared() {
    let mut rollcall = Rollcall::new();
    let missing = rollcall.run(&["topics", "diff", "--json"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    let first = json!({ "difference": "missing", "topic": topics::ALL[0].full_name(&rollcall.settings.topic_prefix) });
    assert_eq!(
        missing.json()["differences"].as_array().map(Vec::len),
        Some(topics::ALL.len())
    );
    assert_eq!(missing.json()["differences"][0], first);

    rollcall.delete_all_topics_on_drop();
    let applied = rollcall.run(&["topics", "apply", "--json"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(
        applied.json()["created"].as_array().map(Vec::len),
        Some(topics::ALL.len())
    );

    let again = rollcall.run(&["topics", "apply"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (
            Some(0),
            format!("0 topics created, {} existed\n", topics::ALL.len()).as_str()
        ),
        "{again:?}"
    );
    let same = rollcall.run(&["topics", "diff"]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (
            Some(0),
            format!("all {} topics match the topic table\n", topics::ALL.len()).as_str()
        ),
        "{same:?}"
    );
}

#[tokio::test]
async fn apply_reports_but_does_not_change_other_partitions_and_configuration() {
    let mut rollcall = Rollcall::new();
    let admin: AdminClient<DefaultClientContext> = rollcall.settings.client().create().expect("a client");
    let users = topics::USERS.full_name(&rollcall.settings.topic_prefix);
    rollcall.delete_all_topics_on_drop();
    let three = NewTopic::new(&users, 3, TopicReplication::Fixed(1));
    admin
        .create_topics([&three], &AdminOptions::new())
        .await
        .expect("a topic");
    rollcall.create_topics().await;
    let replies = topics::GATEWAY_REPLIES.full_name(&rollcall.settings.topic_prefix);
    let minute = AlterConfig::new(ResourceSpecifier::Topic(&replies)).set("retention.ms", "60000");
    admin
        .alter_configs([&minute], &AdminOptions::new())
        .await
        .expect("altered");

    let retention = json!({
        "difference": "config", "topic": replies, "name": "retention.ms", "expected": "86400000", "found": "60000",
    });
    let partitions = json!({ "difference": "partitions", "topic": users, "expected": 12, "found": 3 });
    // A broker shows changes a few milliseconds after it accepted them.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let differences = loop {
        let diff = rollcall.run(&["topics", "diff", "--json"]);
        assert_eq!(diff.code, Some(1), "{diff:?}");
        let differences = diff.json()["differences"].as_array().cloned().expect("a list");
        if [&retention, &partitions].iter().all(|row| differences.contains(row)) || std::time::Instant::now() > deadline
        {
            break differences;
        }
    };
    assert!(
        differences.contains(&retention) && differences.contains(&partitions),
        "{differences:?}"
    );

    let apply = rollcall.run(&["topics", "apply"]);
    assert_eq!(apply.code, Some(1), "{apply:?}");
    assert!(apply.stdout.contains("has 3 partitions instead of 12"), "{apply:?}");
}

#[tokio::test]
async fn a_replication_factor_above_the_number_of_brokers_is_rejected() {
    let mut rollcall = Rollcall::new();
    let rejected = rollcall.run(&["topics", "apply", "--replication", "9"]);
    rollcall.create_topics().await; // so that the drop can delete them
    assert_eq!(rejected.code, Some(69), "{rejected:?}");
    assert!(rejected.stderr.contains("at least 9 brokers"), "{rejected:?}");
}
