//! Reading a log beside the consumer: outside of any group, and without moving a position.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::kafka::Settings;
use crate::record::{Record, TopicPartition};

const TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Batches that are read ahead.
const AHEAD: usize = 2;

/// The log can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the log can't be read")]
pub struct Error(#[from] KafkaError);

/// The records of a partition from `from` up to, not including, `until`, in batches of at most `batch`. Where the log
/// begins later, from its beginning. It ends at `until`, at the end of the log, or with an error.
pub fn read(
    settings: &Settings,
    partition: TopicPartition,
    from: i64,
    until: i64,
    batch: usize,
) -> mpsc::Receiver<Result<Vec<Record>, Error>> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_on(&settings, &partition, from, until, batch, &sender) {
            // Where nobody takes it, nobody reads any more.
            let _ = sender.blocking_send(Err(error.into()));
        }
    });
    batches
}

/// The partitions of a topic, each with the first offset that it still has.
pub async fn beginnings(settings: &Settings, topic: &str) -> Result<Vec<(TopicPartition, i64)>, Error> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    let beginnings = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.connect(&settings.client(), TIMEOUT)?;
        let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions
            .map(|partition| {
                let (beginning, _) = consumer.fetch_watermarks(&topic, partition.id(), TIMEOUT)?;
                Ok((TopicPartition::new(topic.as_str(), partition.id()), beginning))
            })
            .collect()
    });
    Ok(beginnings.await.unwrap_or(Err(KafkaError::Canceled))?)
}

fn read_on(
    settings: &Settings,
    partition: &TopicPartition,
    from: i64,
    until: i64,
    batch: usize,
    sender: &mpsc::Sender<Result<Vec<Record>, Error>>,
) -> Result<(), KafkaError> {
    if from >= until {
        return Ok(());
    }
    let consumer: BaseConsumer = settings.connect(&settings.reader(), TIMEOUT)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(from))?;
    consumer.assign(&list)?;
    let mut records = Vec::with_capacity(batch);
    loop {
        let ended = match consumer.poll(POLL) {
            None => false,
            Some(Ok(message)) => {
                let offset = message.offset();
                if offset < until {
                    records.push(Record::read(&message));
                }
                offset + 1 >= until
            }
            Some(Err(KafkaError::PartitionEOF(_))) => true,
            Some(Err(error)) => return Err(error),
        };
        if (ended && !records.is_empty()) || records.len() >= batch {
            let read = std::mem::replace(&mut records, Vec::with_capacity(batch));
            if sender.blocking_send(Ok(read)).is_err() {
                return Ok(());
            }
        }
        if ended || sender.is_closed() {
            return Ok(());
        }
    }
}
