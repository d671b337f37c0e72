//! Runs `rollcall` with separate topics for each test.

use std::process::{Command, Output};
use std::time::Duration;

use bytes::Bytes;
use contracts::{Assignment, Codec, Message, ProcessStatus, ProcessStatusState, Registry, Timestamp, Topic, topics};
use messaging::kafka::Settings;
use messaging::{Envelope, Headers};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The executable with the settings of one test. Deletes the test's topics on drop.
pub(crate) struct Rollcall {
    pub(crate) settings: Settings,
    topics: Vec<&'static Topic>,
}

/// Exit code and output of a run.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl RunOutput {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run scripts/test, or eval \"$(scripts/stack env)\""))
}

impl Rollcall {
    pub(crate) fn new() -> Self {
        let mut settings = Settings::new(env("KAFKA_BROKERS"));
        settings.topic_prefix = format!("cli-{}.", Uuid::now_v7().simple());
        Self {
            settings,
            topics: Vec::new(),
        }
    }

    /// Creates the topics of ops commands, and registers the schemas.
    pub(crate) async fn with_topics() -> Self {
        let mut rollcall = Self::new();
        rollcall.topics = vec![&topics::OPS_COMMANDS, &topics::OPS_STATUS, &topics::GATEWAY_REPLIES];
        let created = messaging::topics::apply(&rollcall.settings, &rollcall.topics, 1).await;
        created.expect("the topics are created");
        codec().await;
        rollcall
    }

    /// Creates all topics, and registers the schemas.
    pub(crate) async fn with_every_topic() -> Self {
        let mut rollcall = Self::new();
        rollcall.create_topics().await;
        codec().await;
        rollcall
    }

    /// Creates all topics and returns when the broker shows them, which takes a few milliseconds.
    pub(crate) async fn create_topics(&mut self) {
        self.delete_all_topics_on_drop();
        let applied = self.run_async(&["topics", "apply", "--json"]).await;
        assert!(applied.json()["created"].is_array(), "{applied:?}");
    }

    /// Deletes all topics on drop, including those that the test itself creates.
    pub(crate) fn delete_all_topics_on_drop(&mut self) {
        self.topics = topics::ALL.to_vec();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> RunOutput {
        run_output(&self.command(arguments).output().expect("rollcall starts"))
    }

    /// Runs the command without blocking the runtime, for tests that simulate a service on it.
    pub(crate) async fn run_async(&self, arguments: &[&str]) -> RunOutput {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("the closure does not panic");
        run_output(&output.expect("rollcall starts"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .args(arguments)
            .env("KAFKA_BROKERS", &self.settings.brokers)
            .env("KAFKA_TOPIC_PREFIX", &self.settings.topic_prefix);
        command
    }

    /// Publishes the status report of a process.
    pub(crate) async fn report(&self, status: &ProcessStatus) {
        let envelope = envelope(&status.service, status.instance, Uuid::now_v7());
        self.publish(envelope, ProcessStatusState::ProcessStatus(status.clone()))
            .await;
    }

    /// Publishes a message as a relay does. Returns its partition and offset.
    pub(crate) async fn publish<M: Message>(&self, envelope: Envelope, message: M) -> (i32, i64) {
        publish(
            &producer(&self.settings),
            &self.settings.topic_prefix,
            envelope,
            message,
        )
        .await
    }

    pub(crate) async fn send(&self, topic: &str, key: Uuid, value: Option<Bytes>, headers: Headers) -> (i32, i64) {
        send(&producer(&self.settings), topic, key, value, headers).await
    }
}

/// Returns the envelope of a message of `service`.
pub(crate) fn envelope(service: &str, key: Uuid, correlation_id: Uuid) -> Envelope {
    Envelope {
        id: Uuid::now_v7(),
        source: format!("/rollcall/{service}"),
        type_name: String::new(), // set by `publish`
        time: Timestamp::now(),
        key,
        sequence: None,
        correlation_id,
        causation_id: None,
        actor: None,
        attempt: 0,
        due_at: None,
        expected_version: None,
        reply_to: None,
        trace_parent: None,
        trace_state: None,
    }
}

/// Returns the report of a live process with some lag.
pub(crate) fn status(service: &str, reported_at: Timestamp) -> ProcessStatus {
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
        parked_keys: 1,
        oldest_gap_age_ms: 90_000,
        dead_letters: 7,
    }
}

pub(crate) fn producer(settings: &Settings) -> FutureProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("linger.ms", "0");
    config.create().expect("a producer")
}

pub(crate) async fn publish<M: Message>(
    producer: &FutureProducer,
    prefix: &str,
    mut envelope: Envelope,
    message: M,
) -> (i32, i64) {
    let value = message.encode(&codec().await).expect("a valid message");
    envelope.type_name = message.type_name().to_owned();
    let headers = envelope.to_headers(contracts::codec::schema_id(&value).ok());
    let topic = M::TOPIC.full_name(prefix);
    send(producer, &topic, envelope.key, Some(Bytes::from(value)), headers).await
}

pub(crate) async fn send(
    producer: &FutureProducer,
    topic: &str,
    key: Uuid,
    value: Option<Bytes>,
    headers: Headers,
) -> (i32, i64) {
    let headers = headers.0.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    });
    let key = key.to_string();
    let mut record = FutureRecord::<str, [u8]>::to(topic).key(&key).headers(headers);
    if let Some(value) = &value {
        record = record.payload(value);
    }
    let delivery = producer.send(record, Duration::from_secs(5)).await.expect("delivered");
    (delivery.partition, delivery.offset)
}

impl Drop for Rollcall {
    fn drop(&mut self) {
        let (settings, topics) = (self.settings.clone(), std::mem::take(&mut self.topics));
        if topics.is_empty() {
            return;
        }
        // A separate thread, because drop cannot await and blocks the runtime of the test.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(messaging::topics::delete(&settings, &topics))
        });
        deleted
            .join()
            .expect("deleting does not panic")
            .expect("the topics are deleted");
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new(&env("SCHEMA_REGISTRY_URL"))
}

/// Returns a codec with the registry's ids, which are requested once because all tests share them.
pub(crate) async fn codec() -> Codec {
    static CODEC: OnceCell<Codec> = OnceCell::const_new();
    let codec = CODEC.get_or_init(async || {
        let ids = registry().register_all(topics::ALL, "").await;
        Codec::with_ids(ids.expect("the schemas are registered")).expect("an id for every record")
    });
    codec.await.clone()
}

fn run_output(output: &Output) -> RunOutput {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    RunOutput {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
