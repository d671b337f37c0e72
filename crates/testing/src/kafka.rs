//! Topics of one test's own on the real broker.

use std::time::Duration;

use bytes::Bytes;
use contracts::{Timestamp, Topic, topics};
use messaging::kafka::Settings;
use messaging::{Headers, Record, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::{env, janitor};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Topics under a random prefix, deleted with this value.
pub struct KafkaTopics {
    prefix: String,
    topics: Vec<&'static Topic>,
    admin: AdminClient<DefaultClientContext>,
}

impl KafkaTopics {
    /// Every topic of the table with few partitions, so that they are there at once. A process that checks the table
    /// at boot does not start on them: see [`as_declared`](Self::as_declared).
    pub async fn create(partitions: i32) -> Self {
        let kafka = Self::named();
        let names: Vec<_> = kafka.topics.iter().map(|topic| kafka.name(topic)).collect();
        let new: Vec<_> = (kafka.topics.iter().zip(&names))
            .map(|(topic, name)| NewTopic::new(name, partitions.min(topic.partitions), TopicReplication::Fixed(1)))
            .collect();
        let made = kafka.admin.create_topics(&new, &options()).await;
        for result in made.expect("Kafka answers at KAFKA_BROKERS") {
            result.unwrap_or_else(|(topic, code)| panic!("{topic} is made: {code}"));
        }
        kafka
    }

    /// Every topic exactly as the table says: for whole services, with their boot checks.
    pub async fn as_declared() -> Self {
        let kafka = Self::named();
        let made = messaging::topics::apply(&kafka.settings(), &kafka.topics, 1).await;
        made.expect("the topics are made");
        kafka
    }

    fn named() -> Self {
        let id = Uuid::now_v7().simple().to_string();
        let prefix = format!("t{}.", &id[20..]);
        let admin = Settings::new(env().kafka_brokers).client().create();
        Self {
            prefix,
            topics: topics::ALL.to_vec(),
            admin: admin.expect("KAFKA_BROKERS can be used"),
        }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A topic's name on the broker.
    pub fn name(&self, topic: &Topic) -> String {
        topic.full_name(&self.prefix)
    }

    /// The delivery protocol's defaults, for these topics.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(env().kafka_brokers);
        settings.topic_prefix = self.prefix.clone();
        settings
    }

    /// Writes records as they are, each to the partition that it names, in order.
    pub async fn produce(&self, records: &[Record]) {
        let mut config = self.settings().client();
        let producer: FutureProducer = config
            .set("linger.ms", "0")
            .create()
            .expect("KAFKA_BROKERS can be used");
        let queued: Vec<_> = (records.iter())
            .map(|record| {
                let headers = record
                    .headers
                    .0
                    .iter()
                    .fold(OwnedHeaders::new(), |headers, (key, value)| {
                        headers.insert(Header {
                            key,
                            value: Some(value),
                        })
                    });
                let mut out: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&record.partition.topic)
                    .partition(record.partition.partition)
                    .headers(headers);
                out.key = record.key.as_deref();
                out.payload = record.value.as_deref();
                producer
                    .send_result(out)
                    .map_err(|(error, _)| error)
                    .expect("the record is queued")
            })
            .collect();
        for delivery in queued {
            let delivery = delivery.await.expect("the producer lives");
            delivery.map_err(|(error, _)| error).expect("the record is written");
        }
    }

    /// What stands on a topic now, partition by partition.
    pub async fn records(&self, topic: &Topic) -> Vec<Record> {
        let (name, settings) = (self.name(topic), self.settings());
        tokio::task::spawn_blocking(move || read_all(&settings, &name))
            .await
            .expect("reading does not panic")
    }

    /// Deletes the records before an offset, as retention does.
    pub async fn delete_records(&self, topic: &Topic, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name(topic), partition, Offset::Offset(before))
            .expect("it is a valid offset");
        let deleted = self.admin.delete_records(&list, &options()).await;
        deleted.expect("the records are deleted");
    }

    /// Changes one setting of a topic.
    pub async fn configure(&self, topic: &Topic, key: &str, value: &str) {
        let name = self.name(topic);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(key, value);
        let changed = self.admin.alter_configs(&[change], &options()).await;
        for result in changed.expect("Kafka answers at KAFKA_BROKERS") {
            result.unwrap_or_else(|(topic, code)| panic!("{topic:?} is changed: {code}"));
        }
    }
}

impl Drop for KafkaTopics {
    fn drop(&mut self) {
        let names: Vec<_> = self.topics.iter().map(|topic| self.name(topic)).collect();
        let settings = self.settings();
        janitor::run_blocking(async move {
            let admin: AdminClient<DefaultClientContext> = settings.client().create().expect("it could be used before");
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            if let Err(error) = admin.delete_topics(&names, &options()).await {
                eprintln!("the topics of {} stay: {error}", settings.topic_prefix);
            }
        });
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

fn read_all(settings: &Settings, topic: &str) -> Vec<Record> {
    let mut config = settings.client();
    config.set("group.id", "unused").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("KAFKA_BROKERS can be used");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("Kafka answers");
    let count = metadata.topics()[0].partitions().len() as i32;
    let mut records = Vec::new();
    for partition in 0..count {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, TIMEOUT)
            .expect("the partition has watermarks");
        if low == high {
            continue;
        }
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, partition, Offset::Offset(low))
            .expect("it is a valid offset");
        consumer.assign(&from).expect("the partition can be read");
        loop {
            let message = consumer.poll(TIMEOUT).expect("there are more records");
            let message = message.expect("the partition can be read");
            let headers = message.headers().map_or_else(Vec::new, |headers| {
                let header = |header: Header<'_, &[u8]>| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                    (header.key.to_owned(), value.into_owned())
                };
                headers.iter().map(header).collect()
            });
            let offset = message.offset();
            let millis = message.timestamp().to_millis().unwrap_or(0);
            records.push(Record {
                partition: TopicPartition::new(topic, partition),
                offset,
                timestamp: Timestamp::from_micros(millis * 1_000).expect("it is the broker's time"),
                key: message.key().map(Bytes::copy_from_slice),
                value: message.payload().map(Bytes::copy_from_slice),
                headers: Headers(headers),
            });
            if offset + 1 >= high {
                break;
            }
        }
    }
    records
}
