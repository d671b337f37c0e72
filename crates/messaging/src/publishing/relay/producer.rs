//! The Kafka producer, and its report of each delivery.

use std::fmt::Debug;
use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::kafka::Settings;
use crate::kafka::client::{Watched, WorkingClient};
use crate::ledger::OutboxRow;
use crate::wire::record::TopicPartition;

/// The report of one delivery.
#[derive(Debug)]
pub(super) struct Delivery<Id> {
    pub(super) id: Id,
    pub(super) owner: Uuid,
    pub(super) partition: TopicPartition,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The record was written at this offset.
    Delivered(i64),
    Failed(KafkaError),
}

pub(super) struct Producer<Id: Copy + Send + Sync + Debug + 'static> {
    inner: Arc<ThreadedProducer<Reports<Id>>>,
    working: Arc<WorkingClient<ThreadedProducer<Reports<Id>>>>,
    sender: mpsc::UnboundedSender<Delivery<Id>>,
}

impl<Id: Copy + Send + Sync + Debug + 'static> Producer<Id> {
    /// Creates an idempotent producer whose deliveries are acknowledged by every in-sync replica. It sends its reports to
    /// `sender`.
    pub(super) fn new(settings: &Settings, sender: mpsc::UnboundedSender<Delivery<Id>>) -> KafkaResult<Self> {
        Self::create(settings, sender, Arc::default())
    }

    fn create(
        settings: &Settings,
        sender: mpsc::UnboundedSender<Delivery<Id>>,
        working: Arc<WorkingClient<ThreadedProducer<Reports<Id>>>>,
    ) -> KafkaResult<Self> {
        let reports = Reports { sender: sender.clone() };
        let inner = ThreadedProducer::from_config_and_context(&settings.producer(), reports)?;
        let inner = Arc::new(inner);
        working.set(&inner);
        Ok(Self { inner, working, sender })
    }

    /// Creates a producer that reports to the same receiver and is watched instead of this one.
    pub(super) fn renewed(&self, settings: &Settings) -> KafkaResult<Self> {
        Self::create(settings, self.sender.clone(), Arc::clone(&self.working))
    }

    /// Returns the publishing client, for the watchdog.
    pub(super) fn working(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.working) as Arc<dyn Watched>
    }

    /// Waits until the client must be replaced.
    pub(super) fn replacement_requested(&self) -> impl Future<Output = ()> + use<'_, Id> {
        self.working.replacement_requested()
    }

    /// Returns `true` if the producer failed fatally and never works again.
    pub(super) fn is_fatal(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }

    /// Queues a row for delivery.
    pub(super) fn send(&self, row: &OutboxRow<Id>) -> KafkaResult<()> {
        let message = &row.message;
        let headers = message.headers.0.iter().fold(
            OwnedHeaders::new_with_capacity(message.headers.0.len()),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            },
        );
        let mut key = Uuid::encode_buffer();
        let key: &str = message.key.hyphenated().encode_lower(&mut key);
        let opaque = Arc::new((row.id, row.owner));
        let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(&message.topic, opaque)
            .key(key)
            .headers(headers);
        if let Some(value) = &message.value {
            record = record.payload(value);
        }
        self.inner.send(record).map_err(|(error, _)| error)
    }
}

struct Reports<Id> {
    sender: mpsc::UnboundedSender<Delivery<Id>>,
}

impl<Id: Send + Sync + 'static> ClientContext for Reports<Id> {}

impl<Id: Copy + Send + Sync + Debug + 'static> ProducerContext for Reports<Id> {
    type DeliveryOpaque = Arc<(Id, Uuid)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (message, outcome) = match result {
            Ok(message) => (message, Outcome::Delivered(message.offset())),
            Err((error, message)) => (message, Outcome::Failed(error.clone())),
        };
        // The receiver is dropped only when the relay has ended. The row stays in the outbox, and another process adopts it.
        let _ = self.sender.send(Delivery {
            id: opaque.0,
            owner: opaque.1,
            partition: TopicPartition::new(message.topic(), message.partition()),
            outcome,
        });
    }
}
