use std::collections::HashMap;
use std::time::{Duration, Instant};

use contracts::{Timestamp, Topic};
use messaging::Record;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, PATIENCE};
use crate::Error;

const POLL: Duration = Duration::from_millis(100);

/// Reads a topic on from some point. Its calls block: there is nothing else for this thread to do.
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
        let mut reader = Self::open(kafka, topic)?;
        reader.next = reader
            .ends()?
            .into_iter()
            .map(|(partition, (low, _))| (partition, low))
            .collect();
        reader.assign()
    }

    /// From the present end: whatever is written after this call is read.
    pub(crate) fn from_end(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        let mut reader = Self::open(kafka, topic)?;
        reader.next = reader.present_ends()?;
        reader.assign()
    }

    /// From the first record that is not older than `time`. Partitions without such a record are not read.
    pub(crate) fn from_time(kafka: &Kafka, topic: &Topic, time: Timestamp) -> Result<Self, Error> {
        let mut reader = Self::open(kafka, topic)?;
        let found = reader.offsets_at(time, reader.partitions()?)?;
        let is_there = |(partition, offset): (i32, Option<i64>)| Some((partition, offset?));
        reader.next = found.into_iter().filter_map(is_there).collect();
        reader.assign()
    }

    fn open(kafka: &Kafka, topic: &Topic) -> Result<Self, Error> {
        let mut config = kafka.settings().client();
        config
            // librdkafka wants one even where partitions are assigned by hand. Nothing joins or commits.
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

    /// Everything up to the present end.
    pub(crate) fn catch_up(&mut self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        self.read_to(self.present_ends()?, |record| records.push(record))?;
        Ok(records)
    }

    /// Hands over everything that is older than `time`.
    pub(crate) fn read_until(&mut self, time: Timestamp, take: impl FnMut(Record)) -> Result<(), Error> {
        let mut ends = HashMap::new();
        for (partition, offset) in self.offsets_at(time, self.next.keys().copied())? {
            let end = match offset {
                Some(offset) => offset,
                None => self.ends_of(partition)?.1,
            };
            ends.insert(partition, end);
        }
        self.read_to(ends, take)
    }

    fn read_to(&mut self, ends: HashMap<i32, i64>, mut take: impl FnMut(Record)) -> Result<(), Error> {
        let mut behind = ends;
        behind.retain(|partition, end| self.next.get(partition).is_some_and(|next| next < end));
        let mut deadline = Instant::now() + PATIENCE;
        let mut trouble = None;
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
        Ok(())
    }

    /// The next record, if there is one before the deadline.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<Record> {
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            // Ends are no news here, and librdkafka gets over its errors by itself.
            if let Some(Ok(message)) = self.consumer.poll(left) {
                return Some(Record::read(&message));
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

    /// The first and the next offset of each partition.
    fn ends(&self) -> Result<HashMap<i32, (i64, i64)>, Error> {
        let ends = |partition| Ok((partition, self.ends_of(partition)?));
        self.partitions()?.into_iter().map(ends).collect()
    }

    fn present_ends(&self) -> Result<HashMap<i32, i64>, Error> {
        let ends = self.ends()?;
        Ok(ends
            .into_iter()
            .map(|(partition, (_, high))| (partition, high))
            .collect())
    }

    fn ends_of(&self, partition: i32) -> Result<(i64, i64), Error> {
        self.patiently(|| self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE))
    }

    /// A topic that was just made has no leader for some milliseconds, nor has one whose broker was lost.
    fn patiently<T>(&self, mut ask: impl FnMut() -> KafkaResult<T>) -> Result<T, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() > deadline => return Err(self.kafka.unreachable(error)),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Of each partition, the first offset whose record is not older; `None` where all are.
    fn offsets_at(
        &self,
        time: Timestamp,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<HashMap<i32, Option<i64>>, Error> {
        let millis = time.as_micros().div_euclid(1_000);
        let times: HashMap<i32, i64> = partitions.into_iter().map(|partition| (partition, millis)).collect();
        if times.is_empty() {
            return Ok(HashMap::new()); // librdkafka takes no empty question
        }
        let found = self.patiently(|| self.consumer.offsets_for_times(self.list(&times), PATIENCE))?;
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
                .expect("neither an offset of the broker's nor a time is negative");
        }
        list
    }
}
