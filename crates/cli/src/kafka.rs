//! Kafka as the operator sees it: topics are read by assignment, so that no consumer group is joined or made.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contracts::{Timestamp, Topic};
use messaging::kafka::Settings;
use messaging::{Headers, Record, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::Error;

/// How long Kafka may take for anything that this command asks of it.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

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
        let client: BaseConsumer = self
            .settings()
            .client()
            .create()
            .map_err(|error| self.unreachable(error))?;
        client
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| self.unreachable(error))?;
        Ok(())
    }

    /// Sends one record, and waits until every in-sync replica has it.
    pub(crate) async fn send(&self, topic: &str, key: &str, value: &[u8], headers: &Headers) -> Result<(), Error> {
        let mut config = self.settings().client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // The same partition as a Java client finds.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer: FutureProducer = config.create().map_err(|error| self.unreachable(error))?;
        let headers = headers.0.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        match producer.send(record, PATIENCE).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(self.unreachable(error)),
        }
    }
}

/// Reads a topic on from some point. Its calls block: there is nothing else for this process to do.
pub(crate) struct Reader {
    kafka: Kafka,
    topic: String,
    consumer: BaseConsumer,
    /// By partition, the offset to read next.
    next: HashMap<i32, i64>,
}

impl Reader {
    /// From the oldest record.
    pub(crate) fn from_start(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        Self::new(kafka, topic, |(low, _high)| low)
    }

    /// From the present end: whatever is written after this call is read.
    pub(crate) fn from_end(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        Self::new(kafka, topic, |(_low, high)| high)
    }

    fn new(kafka: &Kafka, topic: &Topic, start: impl Fn((i64, i64)) -> i64) -> Result<Self, Error> {
        let topic = kafka.topic(topic);
        let mut config = kafka.settings().client();
        config
            // librdkafka wants one even where partitions are assigned by hand. Nothing joins or commits.
            .set("group.id", "rollcall-cli")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer = config.create().map_err(|error| kafka.unreachable(error))?;
        let mut reader = Self {
            kafka: kafka.clone(),
            topic,
            consumer,
            next: HashMap::new(),
        };
        let mut assignment = TopicPartitionList::new();
        for partition in reader.partitions()? {
            let offset = start(reader.ends(partition)?);
            reader.next.insert(partition, offset);
            assignment
                .add_partition_offset(&reader.topic, partition, Offset::Offset(offset))
                .expect("an offset of the broker's is a valid one");
        }
        reader
            .consumer
            .assign(&assignment)
            .map_err(|error| reader.kafka.unreachable(error))?;
        Ok(reader)
    }

    /// Everything up to the present end.
    pub(crate) fn catch_up(&mut self) -> Result<Vec<Record>, Error> {
        let mut behind = HashMap::new();
        for (partition, next) in &self.next {
            let end = self.ends(*partition)?.1;
            if *next < end {
                behind.insert(*partition, end);
            }
        }
        let mut records = Vec::new();
        let mut deadline = Instant::now() + PATIENCE;
        let mut trouble = None;
        while !behind.is_empty() {
            match self
                .consumer
                .poll(POLL)
                .map(|polled| polled.map(|message| record(&message)))
            {
                Some(Ok(record)) => {
                    let partition = record.partition.partition;
                    let next = record.offset + 1;
                    self.next.insert(partition, next);
                    behind.retain(|other, end| *other != partition || next < *end);
                    records.push(record);
                    deadline = Instant::now() + PATIENCE;
                }
                // Compaction may have taken the last record, and left its offset.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    behind.remove(&partition);
                }
                // librdkafka tries again by itself.
                Some(Err(error)) => trouble = Some(error),
                None => {}
            }
            if Instant::now() > deadline {
                let timeout = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                return Err(self.kafka.unreachable(trouble.unwrap_or(timeout)));
            }
        }
        Ok(records)
    }

    /// The next record, if there is one before the deadline.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<Record> {
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            // Ends are no news here, and librdkafka gets over its errors by itself.
            if let Some(Ok(message)) = self.consumer.poll(left) {
                return Some(record(&message));
            }
        }
    }

    fn partitions(&self) -> Result<Vec<i32>, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), PATIENCE)
            .map_err(|error| self.kafka.unreachable(error))?;
        let partitions = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let partitions: Vec<i32> = partitions
            .into_iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        if partitions.is_empty() {
            let message = format!("there is no topic {}; `rollcall topics apply` makes it", self.topic);
            return Err(Error::without_source(message));
        }
        Ok(partitions)
    }

    /// The first and the next offset of a partition. A topic that was just made has no leader for some milliseconds.
    fn ends(&self, partition: i32) -> Result<(i64, i64), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE) {
                Ok(ends) => return Ok(ends),
                Err(error) if Instant::now() > deadline => return Err(self.kafka.unreachable(error)),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    Record {
        partition: TopicPartition::new(message.topic(), message.partition()),
        offset: message.offset(),
        timestamp: message
            .timestamp()
            .to_millis()
            .and_then(|millis| Timestamp::from_micros(millis.saturating_mul(1_000)).ok())
            .unwrap_or(Timestamp::EPOCH),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: Headers(
            headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect(),
        ),
    }
}
