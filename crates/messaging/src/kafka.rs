//! The settings of all Kafka clients: what the delivery guarantee requires of librdkafka, in one file.

pub(crate) mod client;

use std::time::Duration;

use chassis::settings::{Reader, Value};
use contracts::topics;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::error::KafkaResult;

pub use self::client::Probe;

/// Default of the inbox retention: the retention and the segment roll of the command topics, and a margin.
pub const INBOX_RETENTION: Duration = Duration::from_secs(10 * 24 * 60 * 60);

const STATISTICS_INTERVAL_MS: &str = "5000";

/// The connection to Kafka, and the numbers of the delivery protocol.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Precedes the name of every topic and group so that tests can share a broker.
    pub topic_prefix: String,
    /// `consumer` (KIP-848) or `classic` (cooperative-sticky).
    pub group_protocol: GroupProtocol,
    /// Duration of a relay's lease. Messages of dead processes wait that long.
    pub lease: Duration,
    /// Maximum time for one delivery (`message.timeout.ms`). Shorter than the lease.
    pub delivery_timeout: Duration,
    /// Maximum number of records in one transaction.
    pub batch: usize,
    /// Maximum number of records of one partition that wait for its lane.
    pub partition_queue: usize,
    /// Number of lanes: of transactions that consume at the same time.
    pub lanes: usize,
    /// Minimum time between two commits of a lane, so that more records share a transaction under load. The first record
    /// after a rest is not delayed.
    pub lane_pace: Duration,
    /// Time for which the inbox keeps the ids of messages.
    pub inbox_retention: Duration,
    /// Maximum duration of one transaction, because an unresponsive store must not block a worker forever. It cannot be set
    /// from the environment, because the time limits of the stores depend on it.
    pub transaction_limit: Duration,
    /// An error is logged when messages have waited longer than this for a missing one.
    pub gap_alarm: Duration,
    /// A partition that has a lag and has not advanced for this long raises an alert; if nothing is fetched for it, the
    /// consumer's client is replaced.
    pub stall_alarm: Duration,
}

/// The lanes of a service, unless its settings name others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// Number of lanes.
    pub count: usize,
    /// Minimum time between two commits of a lane.
    pub pace: Duration,
}

impl Default for Lanes {
    /// Returns the lanes of a service whose clients wait for it.
    fn default() -> Self {
        Self {
            count: 2,
            pace: Duration::ZERO,
        }
    }
}

/// The protocol of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// KIP-848.
    Consumer,
    /// For brokers before 4.0, with cooperative-sticky assignment.
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
    /// Returns the defaults of the delivery protocol.
    pub fn new(brokers: impl Into<String>) -> Self {
        let lanes = Lanes::default();
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            group_protocol: GroupProtocol::Consumer,
            lease: Duration::from_secs(3),
            delivery_timeout: Duration::from_secs(2),
            batch: 500,
            partition_queue: 1_000,
            lanes: lanes.count,
            lane_pace: lanes.pace,
            inbox_retention: INBOX_RETENTION,
            transaction_limit: Duration::from_secs(60),
            gap_alarm: Duration::from_secs(120),
            stall_alarm: Duration::from_secs(30),
        }
    }

    /// Reads the settings from those of the process. `lanes` are the defaults of the service.
    pub fn from_settings(read: &mut Reader, lanes: Lanes) -> Self {
        let defaults = Self::new("");
        let hours = |duration: Duration| (duration.as_secs() / 3_600).to_string();
        Self {
            brokers: read.required(
                "KAFKA_BROKERS",
                "127.0.0.1:9092",
                "addresses of Kafka brokers: host:port, comma-separated",
            ),
            topic_prefix: read.or("KAFKA_TOPIC_PREFIX", "", "prefix of the name of every topic and group"),
            group_protocol: read.or(
                "KAFKA_GROUP_PROTOCOL",
                "consumer",
                "`consumer` (KIP-848), or `classic` for brokers before 4.0",
            ),
            lease: read.or(
                "RELAY_LEASE_MS",
                "3000",
                "duration of the relay's lease: messages of dead processes wait that long",
            ),
            delivery_timeout: read.or(
                "DELIVERY_TIMEOUT_MS",
                "2000",
                "maximum time for one delivery; shorter than the lease",
            ),
            batch: read.or("BATCH_SIZE", "500", "maximum number of records in one transaction"),
            partition_queue: read.or(
                "PARTITION_QUEUE",
                "1000",
                "maximum number of records of a partition that wait for its lane",
            ),
            lanes: read.or(
                "LANES",
                &lanes.count.to_string(),
                "number of transactions that consume at the same time",
            ),
            lane_pace: read.or(
                "LANE_PACE_MS",
                &lanes.pace.as_millis().to_string(),
                "minimum time between two commits of a lane; the first record after a rest is not delayed",
            ),
            inbox_retention: read.or(
                "INBOX_RETENTION_HOURS",
                &hours(defaults.inbox_retention),
                "time for which the id of a message is kept; longer than the retention of its topic",
            ),
            transaction_limit: defaults.transaction_limit,
            gap_alarm: read.or(
                "GAP_ALARM_SECONDS",
                "120",
                "time that messages wait for a missing one before an error is logged",
            ),
            stall_alarm: read.or(
                "STALL_ALARM_SECONDS",
                "30",
                "time without progress after which a partition with a lag raises an alert",
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

    /// Returns the topic whose metadata a client requests to check that it reaches Kafka. Every process uses this topic.
    pub(crate) fn probed_topic(&self) -> String {
        topics::OPS_STATUS.full_name(&self.topic_prefix)
    }

    /// Returns the configuration that all clients have in common. It suffices for metadata and topics.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "rollcall")
            // Otherwise small messages wait 40 ms for an acknowledgement.
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000");
        config
    }

    /// Returns the configuration of a consumer of assigned partitions, outside of any group. It reports the end of a
    /// partition.
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

    /// Returns the configuration of the relay's producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("client.id", "rollcall-producer")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A Java client chooses the same partition.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string())
            // A worker hands over its whole batch together. Within this time it is gathered, so it is sent as one
            // request.
            .set("linger.ms", "1")
            .set("compression.type", "none")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", "1048576");
        config
    }

    /// Returns the configuration of a consumer in a group.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("client.id", "rollcall-consumer")
            .set("group.id", format!("{}{group}", self.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A position outside the log raises an alert; the consumer never jumps silently.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            // Every fetch names every partition, which is the main cost of an idle consumer. A record ends the wait.
            .set("fetch.wait.max.ms", "250")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // The default, 64 MiB, exceeds the memory target.
            .set("queued.max.messages.kbytes", "4096")
            // They show which partitions are read to their end.
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
        if !self.lane_pace.is_zero() {
            // No client waits for a service that paces its commits, so the broker gathers records too.
            config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "500");
        }
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
