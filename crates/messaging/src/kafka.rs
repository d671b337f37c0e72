//! Client settings: one place that says what the promise needs of librdkafka.

pub(crate) mod client;

use std::time::Duration;

use chassis::settings::{Reader, Value};
use contracts::topics;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::error::KafkaResult;

pub use self::client::Probe;

/// How long the inbox remembers by default: the command topics' retention and segment roll, and a margin.
pub const INBOX_RETENTION: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// How a process reaches Kafka, and the times of the delivery protocol.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Comes before every topic and group, so that tests share a broker.
    pub topic_prefix: String,
    /// `consumer` (KIP-848) or `classic` (cooperative-sticky).
    pub group_protocol: GroupProtocol,
    /// How long a relay's lease lasts; the dead process's keys wait that long.
    pub lease: Duration,
    /// Time for one delivery (`message.timeout.ms`), below the lease.
    pub delivery_timeout: Duration,
    /// Records in one transaction, at most.
    pub batch: usize,
    /// Records that wait for a partition's worker, at most.
    pub partition_queue: usize,
    pub inbox_retention: Duration,
    /// How long one transaction may take. A store that is gone without a word must not hold a worker for ever. No
    /// setting: the stores' own limits are made to fit.
    pub transaction_limit: Duration,
    /// An error is logged once messages wait longer than this for one that is missing.
    pub gap_alarm: Duration,
    /// A partition that has a lag and has not advanced for this long raises an alarm; if nothing is fetched for it, the
    /// consumer's client is replaced.
    pub stall_alarm: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    Consumer,
    Classic,
}

impl Value for GroupProtocol {
    fn parse(_: &str, text: &str) -> Result<Self, String> {
        match text {
            "consumer" => Ok(Self::Consumer),
            "classic" => Ok(Self::Classic),
            _ => Err("must be consumer or classic".to_owned()),
        }
    }
}

impl Settings {
    /// The defaults of the delivery protocol.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            group_protocol: GroupProtocol::Consumer,
            lease: Duration::from_secs(3),
            delivery_timeout: Duration::from_secs(2),
            batch: 500,
            partition_queue: 1_000,
            inbox_retention: INBOX_RETENTION,
            transaction_limit: Duration::from_secs(60),
            gap_alarm: Duration::from_secs(120),
            stall_alarm: Duration::from_secs(30),
        }
    }

    /// Reads them from a process's settings.
    pub fn from_settings(read: &mut Reader) -> Self {
        let defaults = Self::new("");
        let hours = |duration: Duration| (duration.as_secs() / 3_600).to_string();
        Self {
            brokers: read.required(
                "KAFKA_BROKERS",
                "127.0.0.1:9092",
                "where Kafka is: host:port, comma-separated",
            ),
            topic_prefix: read.or("KAFKA_TOPIC_PREFIX", "", "comes before every topic and group"),
            group_protocol: read.or(
                "KAFKA_GROUP_PROTOCOL",
                "consumer",
                "`consumer` (KIP-848), or `classic` for brokers before 4.0",
            ),
            lease: read.or(
                "RELAY_LEASE_MS",
                "3000",
                "how long the messages of a process that died wait",
            ),
            delivery_timeout: read.or("DELIVERY_TIMEOUT_MS", "2000", "time for one delivery; below the lease"),
            batch: read.or("BATCH_SIZE", "500", "records in one transaction, at most"),
            partition_queue: read.or(
                "PARTITION_QUEUE",
                "1000",
                "records that wait for a partition's worker, at most",
            ),
            inbox_retention: read.or(
                "INBOX_RETENTION_HOURS",
                &hours(defaults.inbox_retention),
                "how long a message's id is remembered; longer than its topic keeps it",
            ),
            transaction_limit: defaults.transaction_limit,
            gap_alarm: read.or(
                "GAP_ALARM_SECONDS",
                "120",
                "how long messages wait for one that is missing before an error is logged",
            ),
            stall_alarm: read.or(
                "STALL_ALARM_SECONDS",
                "30",
                "how long a partition with a lag may stand still before an alarm is raised",
            ),
        }
    }

    /// Creates a client that has reached a broker, from a configuration that is based on [`client`](Self::client).
    /// Blocks for `timeout` at most.
    ///
    /// # Errors
    /// Returns an error if the configuration is invalid, or if no broker responds in time.
    pub fn connect<C: Probe + FromClientConfig>(&self, config: &ClientConfig, timeout: Duration) -> KafkaResult<C> {
        client::connect(config, &self.probed_topic(), timeout)
    }

    /// The topic whose metadata shows that a client reaches Kafka. Every process uses it.
    pub(crate) fn probed_topic(&self) -> String {
        topics::OPS_STATUS.full_name(&self.topic_prefix)
    }

    /// A client without a role, for metadata and topics.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "rollcall")
            // Small messages wait 40 ms for an acknowledgement otherwise.
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000");
        config
    }

    /// A consumer of assigned partitions, outside of any group. It reports the end of a partition.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // librdkafka requires a group, but no client joins it.
            .set("group.id", format!("{}read", self.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "4096");
        config
    }

    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("client.id", "rollcall-producer")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // The same partition as a Java client finds.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string())
            // A worker's batch is handed over at once: this long it gathers, so that it leaves as one request.
            .set("linger.ms", "1")
            .set("compression.type", "none")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", "1048576");
        config
    }

    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("client.id", "rollcall-consumer")
            .set("group.id", format!("{}{group}", self.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position outside the log is an alarm, never a silent jump.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // The default, 64 MiB, breaks the memory target.
            .set("queued.max.messages.kbytes", "4096");
        match self.group_protocol {
            GroupProtocol::Consumer => {
                config.set("group.protocol", "consumer");
            }
            GroupProtocol::Classic => {
                config
                    .set("partition.assignment.strategy", "cooperative-sticky")
                    .set("session.timeout.ms", "3000")
                    .set("heartbeat.interval.ms", "500");
            }
        }
        config
    }
}
