//! Kafka, as far as a bench needs it: partitioned logs in memory, and what the service published.

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
    /// What was delivered last.
    last: Vec<Record>,
    numbers: HashMap<(&'static str, Uuid), i64>,
    published: Vec<Record>,
    /// How much of `published` was read of each topic.
    read: HashMap<String, usize>,
    /// How much of `published` the service itself has got.
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

    /// The number of a message: the one it has, else the next of its key.
    pub(super) fn number(&self, topic: &'static Topic, key: Uuid, given: Option<i64>) -> i64 {
        let mut content = self.content();
        let highest = content.numbers.entry((topic.name, key)).or_default();
        let number = given.unwrap_or(*highest + 1);
        *highest = number.max(*highest);
        number
    }

    /// A message as a record that has no offset yet.
    pub(super) fn place(&self, message: OutboxMessage) -> Record {
        Record {
            partition: TopicPartition::new(message.topic, self.partition_of(message.key)),
            offset: -1,
            timestamp: Timestamp::now(),
            key: Some(Bytes::from(message.key.to_string())),
            value: message.value,
            headers: message.headers,
        }
    }

    /// Appends, and remembers it as what was delivered last.
    pub(super) fn append_new(&self, records: Vec<Record>) {
        self.content().last = records.clone();
        self.append(records);
    }

    pub(super) fn append_last_again(&self) {
        let last = self.content().last.clone();
        assert!(!last.is_empty(), "something was delivered before");
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

    /// Everything published to a topic.
    pub(super) fn published(&self, topic: &str) -> Vec<Record> {
        let content = self.content();
        let records = content.published.iter();
        records
            .filter(|record| record.partition.topic == topic)
            .cloned()
            .collect()
    }

    /// The same since it was taken last.
    pub(super) fn take_unread(&self, topic: &str) -> Vec<Record> {
        let mut records = self.published(topic);
        let read = self.content().read.insert(topic.to_owned(), records.len());
        records.split_off(read.unwrap_or(0))
    }

    /// What was published since the service itself got it last.
    pub(super) fn take_unsettled(&self) -> Vec<Record> {
        let mut content = self.content();
        let from = content.settled;
        content.settled = content.published.len();
        content.published[from..].to_vec()
    }
}
