//! Kafka clients of the operator: readers assign partitions manually, so they neither join nor create a consumer
//! group.

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

/// Timeout of each request to Kafka.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of Kafka.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Kafka {
    /// Addresses of Kafka brokers, comma-separated
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true, value_name = "HOST:PORT")]
    brokers: String,
    /// Prefix of all topic names
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
            "Kafka is unreachable at {}; check --brokers (KAFKA_BROKERS), and that Kafka is running",
            self.brokers
        );
        Error::unavailable(message, source)
    }

    /// Fails within [`REQUEST_TIMEOUT`] if Kafka is unreachable. Other calls would take longer to fail.
    pub(crate) fn check_reachable(&self) -> Result<(), Error> {
        self.connect::<BaseConsumer>(&self.settings().client())?;
        Ok(())
    }

    /// Creates a client that has reached a broker.
    pub(crate) fn connect<C: Probe + FromClientConfig>(&self, config: &ClientConfig) -> Result<C, Error> {
        let connected = self.settings().connect(config, REQUEST_TIMEOUT);
        connected.map_err(|error| self.unreachable(error))
    }

    pub(crate) fn writer(&self) -> Result<Writer, Error> {
        let mut config = self.settings().client();
        config
            // Not idempotent, because initialization is slow and services recognize duplicates by their `ce_id`.
            .set("acks", "all")
            .set("linger.ms", "0")
            // Chooses the same partition as a Java client.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", REQUEST_TIMEOUT.as_millis().to_string());
        let producer = self.connect(&config)?;
        Ok(Writer {
            kafka: self.clone(),
            producer,
        })
    }
}

/// Writes records one at a time.
pub(crate) struct Writer {
    kafka: Kafka,
    producer: FutureProducer,
}

impl Writer {
    /// Writes a record and returns when all in-sync replicas have it. `topic` is the name with its prefix.
    pub(crate) async fn write(&self, topic: &str, key: &str, value: &[u8], headers: &Headers) -> Result<(), Error> {
        let headers = headers.0.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        match self.producer.send(record, REQUEST_TIMEOUT).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(self.kafka.unreachable(error)),
        }
    }
}
