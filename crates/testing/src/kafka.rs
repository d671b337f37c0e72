//! Separate topics on the real broker for each test.

use std::time::Duration;

use contracts::{Topic, topics};
use messaging::Record;
use messaging::kafka::Settings;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::{env, eventually, janitor};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Topics with a random prefix, which are deleted when this value is dropped.
pub struct KafkaTopics {
    prefix: String,
    topics: Vec<&'static Topic>,
    admin: AdminClient<DefaultClientContext>,
}

impl KafkaTopics {
    /// Creates every declared topic with few partitions, which is fast. A process with boot checks does not start on them;
    /// see [`as_declared`](Self::as_declared).
    pub async fn create(partitions: i32) -> Self {
        let kafka = Self::named();
        let names: Vec<_> = kafka.topics.iter().map(|topic| kafka.name(topic)).collect();
        let new: Vec<_> = (kafka.topics.iter().zip(&names))
            .map(|(topic, name)| NewTopic::new(name, partitions.min(topic.partitions), TopicReplication::Fixed(1)))
            .collect();
        let created = kafka.admin.create_topics(&new, &options()).await;
        for result in created.expect("Kafka responds at KAFKA_BROKERS") {
            result.unwrap_or_else(|(topic, code)| panic!("cannot create {topic}: {code}"));
        }
        kafka
    }

    /// Creates every topic exactly as declared, for services with boot checks.
    pub async fn as_declared() -> Self {
        let kafka = Self::named();
        let created = messaging::topics::apply(&kafka.settings(), &kafka.topics, 1).await;
        created.expect("the topics are created");
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

    /// Returns a topic's name on the broker.
    pub fn name(&self, topic: &Topic) -> String {
        topic.full_name(&self.prefix)
    }

    /// Returns the default settings for these topics.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(env().kafka_brokers);
        settings.topic_prefix = self.prefix.clone();
        settings
    }

    /// Produces raw records in order, each to its partition.
    pub async fn produce(&self, records: &[Record]) {
        self.write(records, None).await.expect("the records are written");
    }

    /// Produces a record with this timestamp in milliseconds, after changing the topic to accept every timestamp.
    pub async fn produce_at(&self, record: &Record, timestamp: i64) {
        let topic = self
            .topics
            .iter()
            .find(|topic| self.name(topic) == record.partition.topic);
        let topic = topic.expect("the record is for one of these topics");
        let any = i64::MAX.to_string();
        self.configure(topic, "message.timestamp.after.max.ms", &any).await;
        // The broker applies the change a little later.
        eventually("the timestamp is accepted", TIMEOUT, || async {
            self.write(std::slice::from_ref(record), Some(timestamp)).await.ok()
        })
        .await;
    }

    async fn write(&self, records: &[Record], timestamp: Option<i64>) -> KafkaResult<()> {
        let mut config = self.settings().client();
        let producer: FutureProducer = config
            .set("linger.ms", "0")
            .create()
            .expect("KAFKA_BROKERS can be used");
        let queued: Vec<_> = records
            .iter()
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
                out.timestamp = timestamp;
                producer.send_result(out).map_err(|(error, _)| error)
            })
            .collect::<KafkaResult<_>>()?;
        for delivery in queued {
            let delivery = delivery.await.expect("the producer exists");
            delivery.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Produces a record to the first partition in a transaction, and aborts it. This leaves two offsets without a record
    /// for consumers.
    pub async fn abort_transaction(&self, topic: &Topic) {
        let mut config = self.settings().client();
        config.set("transactional.id", format!("{}aborts", self.prefix));
        let producer: BaseProducer = config.create().expect("KAFKA_BROKERS can be used");
        let name = self.name(topic);
        let aborted = tokio::task::spawn_blocking(move || {
            producer.init_transactions(TIMEOUT)?;
            producer.begin_transaction()?;
            let record: BaseRecord<'_, str, [u8]> = BaseRecord::to(&name).partition(0).payload(b"");
            producer.send(record).map_err(|(error, _)| error)?;
            producer.flush(TIMEOUT)?;
            producer.abort_transaction(TIMEOUT)
        });
        aborted.await.expect("no panic").expect("the transaction is aborted");
    }

    /// Returns the records of a topic, ordered by partition and offset.
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
            .expect("the offset is valid");
        let deleted = self.admin.delete_records(&list, &options()).await;
        deleted.expect("the records are deleted");
    }

    /// Changes one setting of a topic.
    pub async fn configure(&self, topic: &Topic, key: &str, value: &str) {
        let name = self.name(topic);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(key, value);
        let changed = self.admin.alter_configs(&[change], &options()).await;
        for result in changed.expect("Kafka responds at KAFKA_BROKERS") {
            result.unwrap_or_else(|(topic, code)| panic!("cannot change {topic:?}: {code}"));
        }
    }
}

impl Drop for KafkaTopics {
    fn drop(&mut self) {
        let names: Vec<_> = self.topics.iter().map(|topic| self.name(topic)).collect();
        let settings = self.settings();
        janitor::run_blocking(async move {
            let admin: AdminClient<DefaultClientContext> =
                settings.client().create().expect("KAFKA_BROKERS can be used");
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            if let Err(error) = admin.delete_topics(&names, &options()).await {
                eprintln!(
                    "cannot delete the topics with prefix {}: {error}",
                    settings.topic_prefix
                );
            }
        });
    }
}

/// Returns bytes that are not UTF-8, as a third-party producer may use in a header's name.
#[expect(unsafe_code, reason = "rdkafka takes names as str, and copies their bytes")]
pub fn invalid_utf8() -> String {
    // SAFETY: the callers only copy the bytes.
    unsafe { String::from_utf8_unchecked(b"caf\xe9".to_vec()) }
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
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("Kafka responds");
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
            .expect("the offset is valid");
        consumer.assign(&from).expect("the partition can be read");
        loop {
            let message = consumer.poll(TIMEOUT).expect("there are more records");
            let message = message.expect("the partition can be read");
            let offset = message.offset();
            records.push(Record::read(&message));
            if offset + 1 >= high {
                break;
            }
        }
    }
    records
}
