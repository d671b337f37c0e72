//! Runs `rollcall`, with topics of its own.

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

/// Topics of this test's own, deleted at its end.
pub(crate) struct Rollcall {
    pub(crate) settings: Settings,
    made: Vec<&'static Topic>,
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
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
            made: Vec::new(),
        }
    }

    /// With the topics of operations, and with the schemas registered.
    pub(crate) async fn with_topics() -> Self {
        let mut rollcall = Self::new();
        rollcall.made = vec![&topics::OPS_COMMANDS, &topics::OPS_STATUS, &topics::GATEWAY_REPLIES];
        let made = messaging::topics::apply(&rollcall.settings, &rollcall.made, 1).await;
        made.expect("the topics are made");
        codec().await;
        rollcall
    }

    /// With every topic, and with the schemas registered.
    pub(crate) async fn with_every_topic() -> Self {
        let mut rollcall = Self::new();
        rollcall.make_topics().await;
        codec().await;
        rollcall
    }

    /// Answers when the broker shows them, which takes it some milliseconds.
    pub(crate) async fn make_topics(&mut self) {
        self.has_topics();
        let made = self.run_beside(&["topics", "apply", "--json"]).await;
        assert!(made.json()["made"].is_array(), "{made:?}");
    }

    /// They are to be deleted, whoever made them.
    pub(crate) fn has_topics(&mut self) {
        self.made = topics::ALL.to_vec();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        answer(&self.command(arguments).output().expect("rollcall starts"))
    }

    /// Without blocking the runtime, for tests that play a service meanwhile.
    pub(crate) async fn run_beside(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("it does not panic");
        answer(&output.expect("rollcall starts"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .args(arguments)
            .env("KAFKA_BROKERS", &self.settings.brokers)
            .env("KAFKA_TOPIC_PREFIX", &self.settings.topic_prefix);
        command
    }

    /// A process says how it is doing.
    pub(crate) async fn report(&self, status: &ProcessStatus) {
        let envelope = envelope(&status.service, status.instance, Uuid::now_v7());
        self.say(envelope, ProcessStatusState::ProcessStatus(status.clone()))
            .await;
    }

    /// Says a message, as the relay would. Answers the partition and the offset.
    pub(crate) async fn say<M: Message>(&self, envelope: Envelope, message: M) -> (i32, i64) {
        say(
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

/// The envelope of a message that `service` says.
pub(crate) fn envelope(service: &str, key: Uuid, correlation_id: Uuid) -> Envelope {
    Envelope {
        id: Uuid::now_v7(),
        source: format!("/rollcall/{service}"),
        type_name: String::new(), // the message's
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

/// A process that is alive and behind a little.
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

pub(crate) async fn say<M: Message>(
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
        let (settings, made) = (self.settings.clone(), std::mem::take(&mut self.made));
        if made.is_empty() {
            return;
        }
        // Drop can't await, and the test's runtime is busy with it.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(messaging::topics::delete(&settings, &made))
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

/// With the registry's ids. They are asked for once: every test has the same.
pub(crate) async fn codec() -> Codec {
    static CODEC: OnceCell<Codec> = OnceCell::const_new();
    let codec = CODEC.get_or_init(async || {
        let ids = registry().register_all(topics::ALL, "").await;
        Codec::with_ids(ids.expect("the schemas are registered")).expect("an id for every record")
    });
    codec.await.clone()
}

fn answer(output: &Output) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
