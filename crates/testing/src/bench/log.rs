//! The parts of Kafka that a bench needs: partitioned logs in memory, and the records that the service published.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use contracts::{Timestamp, Topic, topics};
use messaging::ledger::OutboxMessage;
use messaging::{Record, TopicPartition};
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Log(Mutex<Content>);

#[derive(Default)]
struct Content {
    partitions: i32,
    records: BTreeMap<TopicPartition, Vec<Record>>,
    /// The records of the last delivery.
    last: Vec<Record>,
    numbers: HashMap<(&'static str, Uuid), i64>,
    published: Vec<Record>,
    /// The number of `published` records of each topic that the test has read.
    read: HashMap<String, usize>,
    /// The number of `published` records that were delivered to the service itself.
    settled: usize,
}

impl Log {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partitions(&self) -> i32 {
        self.content().partitions.max(1)
    }

    pub(super) fn set_partitions(&self, count: i32) {
        self.content().partitions = count;
    }

    pub(super) fn partition_of(&self, key: Uuid) -> i32 {
        (key.as_u128() % self.partitions() as u128) as i32
    }

    /// Returns the sequence of a message: the given one, otherwise the next one of its key.
    pub(super) fn number(&self, topic: &'static Topic, key: Uuid, given: Option<i64>) -> i64 {
        let mut content = self.content();
        let highest = content.numbers.entry((topic.name, key)).or_default();
        let number = given.unwrap_or(*highest + 1);
        *highest = number.max(*highest);
        number
    }

    /// Converts a message to a record without an offset.
    pub(super) fn to_record(&self, message: OutboxMessage) -> Record {
        Record {
            partition: TopicPartition::new(message.topic, self.partition_of(message.key)),
            offset: -1,
            timestamp: Timestamp::now(),
            key: Some(Bytes::from(message.key.to_string())),
            value: message.value,
            headers: message.headers,
        }
    }

    /// Appends records and stores them as the last delivery.
    pub(super) fn append_new(&self, records: Vec<Record>) {
        self.content().last = records.clone();
        self.append(records);
    }

    pub(super) fn append_last_again(&self) {
        let last = self.content().last.clone();
        assert!(!last.is_empty(), "nothing was delivered before");
        self.append(last);
    }

    pub(super) fn append(&self, records: Vec<Record>) {
        let mut content = self.content();
        for mut record in records {
            let log = content.records.entry(record.partition.clone()).or_default();
            record.offset = log.len() as i64;
            log.push(record);
        }
    }

    pub(super) fn partitions_with_records(&self, prefix: &str) -> Vec<(&'static Topic, i32)> {
        let content = self.content();
        content
            .records
            .keys()
            .map(|partition| {
                let name = partition
                    .topic
                    .strip_prefix(prefix)
                    .expect("every topic has the prefix");
                let topic = topics::by_name(name).unwrap_or_else(|| panic!("{name} is a topic"));
                (topic, partition.partition)
            })
            .collect()
    }

    pub(super) fn read(&self, partition: &TopicPartition, from: i64) -> Vec<Record> {
        let content = self.content();
        let log = content.records.get(partition);
        log.map_or_else(Vec::new, |log| log.iter().skip(from as usize).cloned().collect())
    }

    pub(super) fn publish(&self, records: Vec<Record>) {
        self.content().published.extend(records);
    }

    /// Returns all records that were published to a topic.
    pub(super) fn published(&self, topic: &str) -> Vec<Record> {
        let content = self.content();
        let records = content.published.iter();
        records
            .filter(|record| record.partition.topic == topic)
            .cloned()
            .collect()
    }

    /// Returns the records that were published to a topic since the last call.
    pub(super) fn take_unread(&self, topic: &str) -> Vec<Record> {
        let mut records = self.published(topic);
        let read = self.content().read.insert(topic.to_owned(), records.len());
        records.split_off(read.unwrap_or(0))
    }

    /// Returns the records that were published since the last call.
    pub(super) fn take_unsettled(&self) -> Vec<Record> {
        let mut content = self.content();
        let from = content.settled;
        content.settled = content.published.len();
        content.published[from..].to_vec()
    }
}
