//! Runs `rollcall`, with topics of its own.

use std::process::{Command, Output};

use bytes::Bytes;
use contracts::{Codec, Message, Registry, Timestamp, topics};
use messaging::kafka::Settings;
use messaging::{Envelope, Headers};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use uuid::Uuid;

/// Topics of this test's own, deleted at its end.
pub(crate) struct Rollcall {
    pub(crate) settings: Settings,
    made: bool,
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
        Self { settings, made: false }
    }

    /// With its topics, and with the schemas registered.
    pub(crate) async fn with_topics() -> Self {
        let mut rollcall = Self::new();
        rollcall.make_topics().await;
        registry()
            .register_all(topics::ALL, "")
            .await
            .expect("the schemas are registered");
        rollcall
    }

    /// Answers when the broker shows them, which takes it some milliseconds.
    pub(crate) async fn make_topics(&mut self) {
        self.made = true;
        let made = self.run_beside(&["topics", "apply", "--json"]).await;
        assert!(made.json()["made"].is_array(), "{made:?}");
    }

    /// They are to be deleted, whoever made them.
    pub(crate) fn has_topics(&mut self) {
        self.made = true;
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

    /// Says a message, as the relay would.
    pub(crate) async fn say<M: Message>(&self, key: Uuid, message: M, correlation_id: Uuid) {
        let value = message.encode(&codec().await).expect("a valid message");
        let envelope = Envelope {
            id: Uuid::now_v7(),
            source: "/rollcall/test".to_owned(),
            type_name: message.type_name().to_owned(),
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
        };
        let headers = envelope.to_headers(contracts::codec::schema_id(&value).ok());
        self.send(
            &M::TOPIC.full_name(&self.settings.topic_prefix),
            key,
            Some(Bytes::from(value)),
            headers,
        )
        .await;
    }

    pub(crate) async fn send(&self, topic: &str, key: Uuid, value: Option<Bytes>, headers: Headers) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.settings.brokers)
            .create()
            .expect("a producer");
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
        producer
            .send(record, std::time::Duration::from_secs(5))
            .await
            .expect("delivered");
    }
}

impl Drop for Rollcall {
    fn drop(&mut self) {
        if !self.made {
            return;
        }
        let settings = self.settings.clone();
        // Drop can't await, and the test's runtime is busy with it.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(messaging::topics::delete(&settings, topics::ALL))
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

pub(crate) async fn codec() -> Codec {
    let ids = registry()
        .lookup_all(topics::ALL, "")
        .await
        .expect("the schemas are registered");
    Codec::with_ids(ids).expect("an id for every record")
}

fn answer(output: &Output) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
