//! What reads `ops.status`, and what sends on `ops.commands`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use contracts::{
    Actor, Assignment, CommandAccepted, CommandRejected, OpsCommand, ProcessStatus, ProcessStatusState, ReleaseKey,
    Reply, Timestamp, topics,
};
use messaging::{Envelope, Headers, Record, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::json;
use uuid::Uuid;

use crate::rollcall::{Answer, Rollcall, codec};

fn status(service: &str, reported_at: Timestamp) -> ProcessStatus {
    ProcessStatus {
        service: service.to_owned(),
        instance: Uuid::now_v7(),
        version: "0.1.0".to_owned(),
        started_at: reported_at - Duration::from_secs(60),
        reported_at,
        ready: true,
        outbox_rows: 3,
        outbox_oldest_age_ms: 40,
        assignments: (0..12)
            .map(|partition| Assignment {
                topic: "users.commands".to_owned(),
                partition,
                position: 5,
                lag: 2,
                lag_ms: Some(i64::from(partition) * 10),
            })
            .collect(),
        parked_keys: 0,
        oldest_gap_age_ms: 0,
        dead_letters: 0,
    }
}

async fn report(rollcall: &Rollcall, status: &ProcessStatus) {
    let message = ProcessStatusState::ProcessStatus(status.clone());
    rollcall.say(status.instance, message, Uuid::now_v7()).await;
}

#[tokio::test]
async fn status_shows_the_newest_report_of_each_process() {
    let rollcall = Rollcall::with_topics().await;
    let nobody = rollcall.run(&["status"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stdout.starts_with("no process has ever reported"), "{nobody:?}");

    let now = Timestamp::now();
    let stale = status("event", now - Duration::from_secs(60));
    let user = status("user", now);
    let mut before = user.clone();
    before.reported_at = now - Duration::from_secs(3);
    before.outbox_rows = 99;
    for status in [&stale, &user, &before] {
        report(&rollcall, status).await; // a relay may publish in another order
    }
    let gone = status("audit", now);
    report(&rollcall, &gone).await;
    let topic = topics::OPS_STATUS.full_name(&rollcall.settings.topic_prefix);
    rollcall.send(&topic, gone.instance, None, Headers::default()).await;

    let answer = rollcall.run(&["status", "--json"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let row = |status: &ProcessStatus, state: &str| {
        json!({
            "service": status.service, "instance": status.instance, "version": "0.1.0", "state": state,
            "started_at": status.started_at.to_string(), "reported_at": status.reported_at.to_string(),
            "lag_messages": 24, "lag_ms": 110, "outbox_rows": 3, "outbox_oldest_age_ms": 40,
        })
    };
    assert_eq!(
        answer.json(),
        json!({ "processes": [row(&stale, "stale"), row(&user, "ready")], "down": ["event"] })
    );

    let text = rollcall.run(&["status"]).stdout;
    assert!(
        text.contains("stale: silent for 1 min") && text.ends_with("no process is ready of: event\n"),
        "{text}"
    );

    report(&rollcall, &status("event", Timestamp::now())).await;
    let answer = rollcall.run(&["status"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

#[tokio::test]
async fn watch_shows_what_was_reported_since() {
    let rollcall = Rollcall::with_topics().await;
    let mut watched = status("user", Timestamp::now());
    report(&rollcall, &watched).await;
    let mut watch = rollcall
        .command(&["status", "--watch", "--every", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut rows_now = || {
        let line = lines.next().expect("one line a second").expect("UTF-8");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        answer["processes"][0]["outbox_rows"].clone()
    };
    assert_eq!(rows_now(), 3);
    watched.reported_at = Timestamp::now();
    watched.outbox_rows = 4;
    report(&rollcall, &watched).await;
    // The line after the next one was certainly begun after the report.
    let seen = [rows_now(), rows_now()];
    watch.kill().expect("it still runs");
    watch.wait().expect("it ended");
    assert_eq!(seen[1], 4, "{seen:?}");
}

#[tokio::test]
async fn lag_names_the_partitions_that_nobody_works_on() {
    let rollcall = Rollcall::with_topics().await;
    let mut user = status("user", Timestamp::now());
    report(&rollcall, &user).await;
    let answer = rollcall.run(&["lag"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let cells: Vec<_> = answer
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        cells,
        [
            vec!["SERVICE", "TOPIC", "PARTITIONS", "LAG", "BEHIND"],
            vec!["user", "users.commands", "12", "24", "110.0", "ms"]
        ]
    );

    user.reported_at = Timestamp::now();
    user.assignments.pop();
    report(&rollcall, &user).await;
    let answer = rollcall.run(&["lag", "--json", "--service", "user", "--topic", "users.commands"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let rows = answer.json()["partitions"].clone();
    assert_eq!(
        rows[10],
        json!({ "service": "user", "topic": "users.commands", "partition": 10, "process": user.instance, "position": 5,
                "lag_messages": 2, "lag_ms": 100 })
    );
    assert_eq!(rows[11]["process"], json!(null));
    let answer = rollcall.run(&["lag", "--partitions"]);
    assert_eq!(
        (answer.code, answer.stdout.contains("nobody")),
        (Some(1), true),
        "{answer:?}"
    );
    assert_eq!(rollcall.run(&["lag", "--service", "usr"]).code, Some(1));
}

/// Plays a service: takes the one command there is, and answers it.
async fn released(rollcall: &Rollcall, key: Uuid, reply: impl Fn(&Envelope) -> Reply) -> (Envelope, Answer) {
    let key = key.to_string();
    let arguments = ["parked", "release", "user", "users", &key, "--json"];
    let play = async {
        let settings = rollcall.settings.clone();
        let command = tokio::task::spawn_blocking(move || take_command(&settings))
            .await
            .expect("a command came");
        let envelope = Envelope::of(&command).expect("a whole envelope");
        let value = command.value.expect("a value");
        let body = <OpsCommand as contracts::Message>::decode(&codec().await, &envelope.type_name, &value);
        let expected = ReleaseKey {
            service: "user".to_owned(),
            topic: "users".to_owned(),
            parked_key: key.parse().expect("a key"),
        };
        assert_eq!(body.expect("decodes"), Some(OpsCommand::ReleaseKey(expected)));
        // Somebody else's reply comes first.
        let other = Uuid::now_v7();
        rollcall.say(other, reply(&envelope), other).await;
        rollcall
            .say(envelope.correlation_id, reply(&envelope), envelope.correlation_id)
            .await;
        envelope
    };
    tokio::join!(play, rollcall.run_beside(&arguments))
}

fn take_command(settings: &messaging::kafka::Settings) -> Record {
    let topic = topics::OPS_COMMANDS.full_name(&settings.topic_prefix);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "cli-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut start = TopicPartitionList::new();
    start
        .add_partition_offset(&topic, 0, Offset::Beginning)
        .expect("an offset");
    consumer.assign(&start).expect("assigned");
    let deadline = Instant::now() + Duration::from_secs(20);
    let message = loop {
        assert!(Instant::now() < deadline, "no command came");
        // A topic that was just made has no leader yet: librdkafka tries again by itself.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            break message;
        }
    };
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("UTF-8");
    let headers = message.headers().expect("headers").iter();
    Record {
        partition: TopicPartition::new(message.topic(), message.partition()),
        offset: message.offset(),
        timestamp: Timestamp::EPOCH,
        key: message.key().map(bytes::Bytes::copy_from_slice),
        value: message.payload().map(bytes::Bytes::copy_from_slice),
        headers: Headers(
            headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect(),
        ),
    }
}

fn accepted(command: &Envelope, result: &str) -> Reply {
    let accepted = CommandAccepted {
        command_id: command.id,
        version: 0,
        effects: Vec::new(),
        result: Some(result.to_owned()),
    };
    accepted.into()
}

#[tokio::test]
async fn a_released_key_is_told_with_what_was_applied() {
    let rollcall = Rollcall::with_topics().await;
    report(&rollcall, &status("user", Timestamp::now())).await;
    let key = Uuid::now_v7();

    let (command, answer) = released(&rollcall, key, |command| {
        accepted(command, r#"{"applied":3,"poisoned_at":null}"#)
    })
    .await;

    assert_eq!(answer.code, Some(0), "{answer:?}");
    let said = answer.json();
    assert_eq!(said["operation"], json!(command.correlation_id));
    assert_eq!((&said["outcome"], &said["applied"]), (&json!("accepted"), &json!(3)));
    let trace = said["trace"].as_str().expect("a trace id");
    assert!(
        command
            .trace_parent
            .as_deref()
            .is_some_and(|parent| parent.contains(trace)),
        "{command:?}"
    );
    assert_eq!(command.key, command.correlation_id);
    assert_eq!(command.source, "/rollcall/cli");
    assert_eq!(command.actor, Some(Actor::service("cli")));
    assert_eq!(
        command.reply_to,
        Some(topics::GATEWAY_REPLIES.full_name(&rollcall.settings.topic_prefix))
    );

    let client: BaseConsumer = rollcall.settings.client().create().expect("a client");
    let groups = client
        .fetch_group_list(None, Duration::from_secs(5))
        .expect("the groups");
    let joined = groups
        .groups()
        .iter()
        .any(|group| group.name().contains("rollcall-cli"));
    assert!(!joined, "reading joined a group");
}

#[tokio::test]
async fn a_release_that_met_another_poison_is_a_no() {
    let rollcall = Rollcall::with_topics().await;
    report(&rollcall, &status("user", Timestamp::now())).await;
    let poisoned = |command: &Envelope| accepted(command, r#"{"applied":1,"poisoned_at":9}"#);
    let (_, answer) = released(&rollcall, Uuid::now_v7(), poisoned).await;
    assert_eq!(
        (answer.code, &answer.json()["poisoned_at"]),
        (Some(1), &json!(9)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_rejected_release_says_why() {
    let rollcall = Rollcall::with_topics().await;
    report(&rollcall, &status("user", Timestamp::now())).await;
    let (_, answer) = released(&rollcall, Uuid::now_v7(), |command| {
        let rejected = CommandRejected {
            command_id: command.id,
            code: "not-parked".to_owned(),
            detail: "nothing of users is parked for this key".to_owned(),
            errors: Vec::new(),
        };
        rejected.into()
    })
    .await;
    assert_eq!(
        (answer.code, &answer.json()["code"]),
        (Some(1), &json!("not-parked")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_there() {
    let rollcall = Rollcall::with_topics().await;
    report(&rollcall, &status("user", Timestamp::now())).await;
    let key = Uuid::now_v7().to_string();
    let answer = rollcall.run(&["parked", "release", "usr", "users", &key]);
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(answer.stderr.contains("running are: user"), "{answer:?}");
    let answer = rollcall.run(&["parked", "release", "user", "userz", &key]);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    let answer = rollcall.run(&["parked", "release", "user", "users", &key, "--timeout", "1"]);
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(answer.stderr.contains("user did not answer within 1 s"), "{answer:?}");
}
