//! What stands on the topics, read without a group.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::servers::Servers;

const WITHIN: Duration = Duration::from_secs(30);

/// A domain event as it stands on its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    pub topic: String,
    pub key: String,
    pub sequence: i64,
    pub id: String,
}

/// Every record of the domain-event topics, copies and all.
pub async fn domain_events(servers: &Servers, prefix: &str) -> Result<Vec<DomainEvent>> {
    let (servers, prefix) = (servers.clone(), prefix.to_owned());
    tokio::task::spawn_blocking(move || read(&servers, &prefix)).await?
}

fn read(servers: &Servers, prefix: &str) -> Result<Vec<DomainEvent>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.kafka)
        .set("group.id", "end-to-end-reader")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for topic in contracts::topics::ALL
        .iter()
        .filter(|topic| topic.kind == contracts::Kind::DomainEvents)
    {
        let name = topic.full_name(prefix);
        for partition in 0..topic.partitions {
            let (low, high) = consumer.fetch_watermarks(&name, partition, WITHIN)?;
            expected += high - low;
            list.add_partition_offset(&name, partition, Offset::Beginning)?;
        }
    }
    consumer.assign(&list)?;
    let deadline = Instant::now() + WITHIN;
    let mut events = Vec::new();
    while (events.len() as i64) < expected {
        if Instant::now() > deadline {
            bail!("read {} of {expected} records within {WITHIN:?}", events.len());
        }
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            continue;
        };
        let message = message?;
        let header = |name: &str| {
            message
                .headers()
                .and_then(|headers| {
                    headers
                        .iter()
                        .find(|header| header.key == name)
                        .and_then(|header| header.value)
                })
                .and_then(|value| std::str::from_utf8(value).ok().map(str::to_owned))
                .with_context(|| format!("a record of {} has no {name}", message.topic()))
        };
        events.push(DomainEvent {
            topic: message.topic().to_owned(),
            key: header("ce_subject")?,
            sequence: header("ce_sequence")?.parse()?,
            id: header("ce_id")?,
        });
    }
    Ok(events)
}
