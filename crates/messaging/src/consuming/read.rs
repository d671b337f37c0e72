//! Reads a log independently of the consumer: outside of any group, and without advancing a position.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::kafka::Settings;
use crate::wire::record::{Record, TopicPartition};

/// Timeout of one request to Kafka.
const TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// A read that receives neither a record nor the end of the log for this long has failed, because librdkafka itself never
/// times out.
const NO_PROGRESS: Duration = Duration::from_secs(5);
/// Number of batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// A Kafka error while a log was read.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be read")]
pub struct Error(#[from] KafkaError);

/// Reads the records of a partition from offset `from` up to, but not including, `until`, in batches of at most `batch`
/// records. If the log begins after `from`, reading starts at its first record.
///
/// The stream ends at `until`, at the end of the log, or with an error.
pub fn read(
    settings: &Settings,
    partition: TopicPartition,
    from: i64,
    until: i64,
    batch: usize,
) -> mpsc::Receiver<Result<Vec<Record>, Error>> {
    let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_blocking(&settings, &partition, from, until, batch, &sender) {
            // If the receiver was dropped, no caller needs the error.
            let _ = sender.blocking_send(Err(error.into()));
        }
    });
    batches
}

/// Returns the partitions of a topic, each with the first offset that it still has.
///
/// # Errors
/// Returns an error if Kafka does not respond, or does not know the topic, for 15 s. It does not know a topic for some
/// milliseconds after its creation.
pub async fn beginnings(settings: &Settings, topic: &str) -> Result<Vec<(TopicPartition, i64)>, Error> {
    let (settings, topic) = (settings.clone(), topic.to_owned());
    let beginnings = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.connect(&settings.client(), TIMEOUT)?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match beginnings_of(&consumer, &topic) {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(POLL),
                found => return found,
            }
        }
    });
    Ok(beginnings.await.unwrap_or(Err(KafkaError::Canceled))?)
}

/// Returns the range of offsets that a partition holds.
///
/// # Errors
/// Returns an error if Kafka does not respond, or does not know the partition.
pub(crate) async fn log_range(settings: &Settings, partition: &TopicPartition) -> Result<Range<i64>, Error> {
    let (settings, partition) = (settings.clone(), partition.clone());
    let log = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = settings.connect(&settings.client(), TIMEOUT)?;
        let (start, end) = consumer.fetch_watermarks(&partition.topic, partition.partition, TIMEOUT)?;
        Ok(start..end)
    });
    Ok(log.await.unwrap_or(Err(KafkaError::Canceled))?)
}

fn beginnings_of(consumer: &BaseConsumer, name: &str) -> Result<Vec<(TopicPartition, i64)>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(name), TIMEOUT)?;
    let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    let topic = topic.filter(|topic| !topic.partitions().is_empty()).ok_or(unknown)?;
    let partitions = topic.partitions().iter();
    partitions
        .map(|partition| {
            let (beginning, _) = consumer.fetch_watermarks(name, partition.id(), TIMEOUT)?;
            Ok((TopicPartition::new(name, partition.id()), beginning))
        })
        .collect()
}

fn read_blocking(
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
    let mut deadline = Instant::now() + NO_PROGRESS;
    loop {
        let polled = consumer.poll(POLL);
        if polled.is_some() {
            deadline = Instant::now() + NO_PROGRESS;
        }
        let ended = match polled {
            None if Instant::now() > deadline => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
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
            // The receiver may have been slow.
            deadline = Instant::now() + NO_PROGRESS;
        }
        if ended || sender.is_closed() {
            return Ok(());
        }
    }
}
