use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::{Timestamp, Topic};
use messaging::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, REQUEST_TIMEOUT};
use crate::Error;

const POLL: Duration = Duration::from_millis(100);

/// Reads a topic from a given position. Its calls block, because the thread has no other work.
pub(crate) struct Reader {
    kafka: Kafka,
    topic: String,
    consumer: BaseConsumer,
    /// Next offset to read, by partition.
    next: HashMap<i32, i64>,
}

impl Reader {
    /// Reads from the oldest record.
    pub(crate) fn from_start(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        let mut reader = Self::open(kafka, topic)?;
        reader.next = reader
            .watermarks()?
            .into_iter()
            .map(|(partition, (low, _))| (partition, low))
            .collect();
        reader.assign()
    }

    /// Reads from the current end: all records that are written after this call.
    pub(crate) fn from_end(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        let mut reader = Self::open(kafka, topic)?;
        reader.next = reader.end_offsets()?;
        reader.assign()
    }

    /// Reads from the first record that is not older than `time`. Skips partitions without such a record.
    pub(crate) fn from_time(kafka: &Kafka, topic: &Topic, time: Timestamp) -> Result<Self, Error> {
        let mut reader = Self::open(kafka, topic)?;
        let found = reader.offsets_at(time, reader.partitions()?)?;
        let existing = |(partition, offset): (i32, Option<i64>)| Some((partition, offset?));
        reader.next = found.into_iter().filter_map(existing).collect();
        reader.assign()
    }

    fn open(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        let mut config = kafka.settings().client();
        config
            // librdkafka requires a group id even for manual assignment. Nothing joins the group or commits.
            .set("group.id", "rollcall-cli")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer = kafka.connect(&config)?;
        Ok(Self {
            kafka: kafka.clone(),
            topic: kafka.topic(topic),
            consumer,
            next: HashMap::new(),
        })
    }

    fn assign(self) -> Result<Self, Error> {
        self.consumer
            .assign(&self.list(&self.next))
            .map_err(|error| self.kafka.unreachable(error))?;
        Ok(self)
    }

    /// Returns all records up to the current end.
    pub(crate) fn catch_up(&mut self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        self.read_to(self.end_offsets()?, |record| records.push(record))?;
        Ok(records)
    }

    /// Passes all records that are older than `time` to `take`.
    pub(crate) fn read_until(&mut self, time: Timestamp, take: impl FnMut(Record)) -> Result<(), Error> {
        let mut ends = HashMap::new();
        for (partition, offset) in self.offsets_at(time, self.next.keys().copied())? {
            let end = match offset {
                Some(offset) => offset,
                None => self.watermarks_of(partition)?.1,
            };
            ends.insert(partition, end);
        }
        self.read_to(ends, take)
    }

    fn read_to(&mut self, ends: HashMap<i32, i64>, mut take: impl FnMut(Record)) -> Result<(), Error> {
        let mut behind = ends;
        behind.retain(|partition, end| self.next.get(partition).is_some_and(|next| next < end));
        let mut deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut last_error = None;
        while !behind.is_empty() {
            match self
                .consumer
                .poll(POLL)
                .map(|polled| polled.map(|message| Record::read(&message)))
            {
                Some(Ok(record)) => {
                    let (partition, next) = (record.partition.partition, record.offset + 1);
                    self.next.insert(partition, next);
                    if behind.get(&partition).is_some_and(|end| next >= *end) {
                        behind.remove(&partition);
                    }
                    take(record);
                    deadline = Instant::now() + REQUEST_TIMEOUT;
                }
                // Compaction may have removed the last record, but not its offset.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    behind.remove(&partition);
                }
                // librdkafka retries by itself.
                Some(Err(error)) => last_error = Some(error),
                None => {}
            }
            if Instant::now() > deadline {
                let timeout = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                return Err(self.kafka.unreachable(last_error.unwrap_or(timeout)));
            }
        }
        Ok(())
    }

    /// Returns the next record, or `None` if none arrives before the deadline.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<Record> {
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            // Ends of partitions are irrelevant here, and librdkafka recovers from errors by itself.
            if let Some(Ok(message)) = self.consumer.poll(left) {
                return Some(Record::read(&message));
            }
        }
    }

    fn partitions(&self) -> Result<Vec<i32>, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT)
            .map_err(|error| self.kafka.unreachable(error))?;
        let partitions = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let partitions: Vec<i32> = partitions
            .into_iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        if partitions.is_empty() {
            let message = format!(
                "topic {} does not exist; `rollcall topics apply` creates it",
                self.topic
            );
            return Err(Error::without_source(message));
        }
        Ok(partitions)
    }

    /// Returns the low and high watermarks of each partition.
    fn watermarks(&self) -> Result<HashMap<i32, (i64, i64)>, Error> {
        let watermarks = |partition| Ok((partition, self.watermarks_of(partition)?));
        self.partitions()?.into_iter().map(watermarks).collect()
    }

    fn end_offsets(&self) -> Result<HashMap<i32, i64>, Error> {
        Ok(self
            .watermarks()?
            .into_iter()
            .map(|(partition, (_, high))| (partition, high))
            .collect())
    }

    fn watermarks_of(&self, partition: i32) -> Result<(i64, i64), Error> {
        self.retry_until_timeout(|| self.consumer.fetch_watermarks(&self.topic, partition, REQUEST_TIMEOUT))
    }

    /// Repeats a request until it succeeds or [`REQUEST_TIMEOUT`] has passed.
    ///
    /// A new partition has no leader for a few milliseconds, and neither has one whose broker was lost.
    fn retry_until_timeout<T>(&self, mut request: impl FnMut() -> KafkaResult<T>) -> Result<T, Error> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            match request() {
                Ok(response) => return Ok(response),
                Err(error) if Instant::now() > deadline => return Err(self.kafka.unreachable(error)),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Returns the first offset of each partition whose record is not older than `time`, or `None` if all are older.
    fn offsets_at(
        &self,
        time: Timestamp,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<HashMap<i32, Option<i64>>, Error> {
        let millis = time.as_micros().div_euclid(1_000);
        let times: HashMap<i32, i64> = partitions.into_iter().map(|partition| (partition, millis)).collect();
        if times.is_empty() {
            return Ok(HashMap::new()); // librdkafka rejects an empty request
        }
        let found = self.retry_until_timeout(|| self.consumer.offsets_for_times(self.list(&times), REQUEST_TIMEOUT))?;
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let elements = found.elements();
        Ok(elements
            .iter()
            .map(|element| (element.partition(), offset(element.offset())))
            .collect())
    }

    fn list(&self, numbers: &HashMap<i32, i64>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, number) in numbers {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*number))
                .expect("offsets of the broker and times are not negative");
        }
        list
    }
}
