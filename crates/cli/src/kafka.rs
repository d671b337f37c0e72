//! Kafka as the operator sees it: topics are read by assignment, so that no consumer group is joined or made.

mod reader;

use std::error::Error as StdError;
use std::time::Duration;

use contracts::Topic;
use messaging::Headers;
use messaging::kafka::{Probe, Settings};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

pub(crate) use self::reader::Reader;

use crate::Error;

/// How long Kafka may take for anything that this command asks of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where Kafka is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Kafka {
    /// Where Kafka is, comma-separated
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true, value_name = "HOST:PORT")]
    brokers: String,
    /// What stands before every topic's name
    #[arg(
        long,
        env = "KAFKA_TOPIC_PREFIX",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    topic_prefix: String,
}

impl Kafka {
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(&self.brokers);
        settings.topic_prefix.clone_from(&self.topic_prefix);
        settings
    }

    pub(crate) fn topic(&self, topic: &Topic) -> String {
        topic.full_name(&self.topic_prefix)
    }

    pub(crate) fn unreachable(&self, source: impl StdError + Send + Sync + 'static) -> Error {
        let message = format!(
            "Kafka does not answer at {}; check --brokers (KAFKA_BROKERS), and that it is up",
            self.brokers
        );
        Error::unavailable(message, source)
    }

    /// Fails soon where Kafka is down, which other calls find out late.
    pub(crate) fn answers(&self) -> Result<(), Error> {
        self.connect::<BaseConsumer>(&self.settings().client())?;
        Ok(())
    }

    /// Creates a client that has reached a broker.
    pub(crate) fn connect<C: Probe + FromClientConfig>(&self, config: &ClientConfig) -> Result<C, Error> {
        let connected = self.settings().connect(config, PATIENCE);
        connected.map_err(|error| self.unreachable(error))
    }

    pub(crate) fn writer(&self) -> Result<Writer, Error> {
        let mut config = self.settings().client();
        config
            // Not idempotent, which takes a while to begin: a copy of a message is known by its `ce_id`.
            .set("acks", "all")
            .set("linger.ms", "0")
            // The same partition as a Java client finds.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer = self.connect(&config)?;
        Ok(Writer {
            kafka: self.clone(),
            producer,
        })
    }
}

/// Writes records, one after the other.
pub(crate) struct Writer {
    kafka: Kafka,
    producer: FutureProducer,
}

impl Writer {
    /// Returns when every in-sync replica has it. `topic` has its prefix.
    pub(crate) async fn write(&self, topic: &str, key: &str, value: &[u8], headers: &Headers) -> Result<(), Error> {
        let headers = headers.0.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        match self.producer.send(record, PATIENCE).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(self.kafka.unreachable(error)),
        }
    }
}
