//! Everything a service listens to, on one screen.

use std::sync::Arc;

use contracts::{Message, Topic};
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::handler::{Handler, LogHandler};
use crate::ledger::Ledger;
use crate::log::Log;
use crate::pipeline::{Messages, Released};
use crate::record::TopicPartition;
use crate::release;
use crate::runtime::Runtime;
use crate::worker::{PartitionWorker, Worker};

type MakeWorker<L> =
    Arc<dyn Fn(Arc<Runtime<L>>, TopicPartition, Option<i64>) -> Box<dyn PartitionWorker> + Send + Sync>;
type Release<L> = Arc<
    dyn Fn(Arc<Runtime<L>>, TopicPartition, Uuid) -> BoxFuture<'static, Result<Released, release::Error>> + Send + Sync,
>;

/// What a service listens to: a handler a topic.
pub struct Subscriptions<L: Ledger> {
    pub(crate) entries: Vec<Entry<L>>,
}

pub(crate) struct Entry<L: Ledger> {
    pub(crate) topic: &'static Topic,
    pub(crate) worker: MakeWorker<L>,
    pub(crate) release: Option<Release<L>>,
}

impl<L: Ledger> Clone for Entry<L> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic,
            worker: Arc::clone(&self.worker),
            release: self.release.clone(),
        }
    }
}

impl<L: Ledger> Default for Subscriptions<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Ledger> Subscriptions<L> {
    pub fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Handles a topic's messages. `make` makes the handler of one partition, anew whenever what it may
    /// have cached is in doubt.
    #[must_use]
    pub fn handle<H: Handler<L>>(mut self, make: impl Fn() -> H + Send + Sync + 'static) -> Self {
        let topic = H::Message::TOPIC;
        let make: Arc<dyn Fn() -> H + Send + Sync> = Arc::new(make);
        let for_release = Arc::clone(&make);
        self.add(Entry {
            topic,
            worker: Arc::new(move |runtime, partition, position| {
                let body = Messages::new(topic.kind, Arc::clone(&make));
                Box::new(Worker::new(runtime, partition, position, body))
            }),
            release: Some(Arc::new(move |runtime, partition, key| {
                let body = Messages::new(topic.kind, Arc::clone(&for_release));
                Box::pin(release::run(runtime, body, partition, key))
            })),
        });
        self
    }

    /// Takes a topic's raw records, in log order.
    #[must_use]
    pub fn log<H: LogHandler<L>>(
        mut self,
        topic: &'static Topic,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        let make: Arc<dyn Fn() -> H + Send + Sync> = Arc::new(make);
        self.add(Entry {
            topic,
            worker: Arc::new(move |runtime, partition, position| {
                let body = Log::new(Arc::clone(&make));
                Box::new(Worker::new(runtime, partition, position, body))
            }),
            release: None,
        });
        self
    }

    /// The topics, in the order they were added.
    pub fn topics(&self) -> impl Iterator<Item = &'static Topic> + '_ {
        self.entries.iter().map(|entry| entry.topic)
    }

    fn add(&mut self, entry: Entry<L>) {
        assert!(
            self.topics().all(|topic| topic.name != entry.topic.name),
            "{} has a handler already: its position can only be moved by one",
            entry.topic.name
        );
        self.entries.push(entry);
    }

    pub(crate) fn entry(&self, topic: &str) -> Option<&Entry<L>> {
        self.entries.iter().find(|entry| entry.topic.name == topic)
    }
}
