//! Reads the records of the topics without a consumer group.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use contracts::{Kind, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::servers::Servers;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A record of a topic.
#[derive(Debug, Clone)]
pub struct Record {
    pub topic: &'static Topic,
    pub partition: i32,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A domain event of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    pub topic: String,
    pub key: String,
    pub sequence: i64,
    pub id: String,
}

impl Record {
    /// Returns a header as text.
    pub fn header(&self, name: &str) -> Result<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
            .with_context(|| format!("a record of topic {} has no header {name}", self.topic.name))
    }
}

/// Returns every record of the domain-event topics, repeated ones included.
pub async fn domain_events(servers: &Servers, prefix: &str) -> Result<Vec<DomainEvent>> {
    records(servers, prefix, |topic| topic.kind == Kind::DomainEvents)
        .await?
        .iter()
        .map(|record| {
            Ok(DomainEvent {
                topic: record.topic.name.to_owned(),
                key: record.header("ce_subject")?.to_owned(),
                sequence: record.header("ce_sequence")?.parse()?,
                id: record.header("ce_id")?.to_owned(),
            })
        })
        .collect()
}

/// Returns every record that the selected topics contain now.
pub async fn records(servers: &Servers, prefix: &str, which: fn(&Topic) -> bool) -> Result<Vec<Record>> {
    let (servers, prefix) = (servers.clone(), prefix.to_owned());
    tokio::task::spawn_blocking(move || read(&servers, &prefix, which)).await?
}

fn read(servers: &Servers, prefix: &str, which: fn(&Topic) -> bool) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.kafka)
        .set("group.id", "end-to-end-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    for topic in contracts::topics::ALL.iter().filter(|topic| which(topic)) {
        for partition in 0..topic.partitions {
            list.add_partition_offset(&topic.full_name(prefix), partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    // A compacted topic has gaps, so only the end of each partition shows that every record was read.
    let mut open = list.count();
    let deadline = Instant::now() + TIMEOUT;
    let mut records = Vec::new();
    while open > 0 {
        if Instant::now() > deadline {
            bail!("{open} partitions were not read to the end within {TIMEOUT:?}");
        }
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(record(&message, prefix)?),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(records)
}

fn record(message: &BorrowedMessage<'_>, prefix: &str) -> Result<Record> {
    let name = message.topic().strip_prefix(prefix).unwrap_or(message.topic());
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Ok(Record {
        topic: contracts::topics::by_name(name).with_context(|| format!("topic {name} is not declared"))?,
        partition: message.partition(),
        key: message.key().unwrap_or_default().to_vec(),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
        value: message.payload().map(<[u8]>::to_vec),
    })
}
