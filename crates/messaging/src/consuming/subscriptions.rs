//! Everything a service listens to, on one screen.

use std::sync::Arc;

use contracts::{Message, Topic};
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::consuming::handler::{Handler, LogHandler};
use crate::consuming::log::{Log, Logged, MakeLog};
use crate::consuming::pipeline::{Messages, Released};
use crate::consuming::release;
use crate::consuming::worker::{PartitionWorker, Worker};
use crate::ledger::Ledger;
use crate::ops::Ops;
use crate::ops::{AnyOpsHandler, OpsHandler};
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

type MakeWorker<L> = Arc<
    dyn Fn(Arc<Runtime<L>>, TopicPartition, Option<i64>, Option<MakeLog<L>>) -> Box<dyn PartitionWorker> + Send + Sync,
>;
type Release<L> = Arc<
    dyn Fn(Arc<Runtime<L>>, TopicPartition, Uuid) -> BoxFuture<'static, Result<Released, release::Error>> + Send + Sync,
>;

/// What a service listens to: a handler a topic, or a log, or both.
pub struct Subscriptions<L: Ledger> {
    pub(crate) entries: Vec<Entry<L>>,
    handlers: Vec<Arc<dyn AnyOpsHandler<L>>>,
}

pub(crate) struct Entry<L: Ledger> {
    pub(crate) topic: &'static Topic,
    log: Option<MakeLog<L>>,
    handle: Option<MakeWorker<L>>,
    pub(crate) release: Option<Release<L>>,
}

impl<L: Ledger> Entry<L> {
    /// The worker of one partition; `position` is the stored one.
    pub(crate) fn worker(
        &self,
        runtime: Arc<Runtime<L>>,
        partition: TopicPartition,
        position: Option<i64>,
    ) -> Box<dyn PartitionWorker> {
        match (&self.handle, self.log.clone()) {
            (Some(make), log) => make(runtime, partition, position, log),
            (None, Some(log)) => Box::new(Worker::new(runtime, partition, position, Log::new(log))),
            (None, None) => unreachable!("an entry is made with a handler or a log"),
        }
    }
}

impl<L: Ledger> Clone for Entry<L> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic,
            log: self.log.clone(),
            handle: self.handle.clone(),
            release: self.release.clone(),
        }
    }
}

impl<L: Ledger> Clone for Subscriptions<L> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            handlers: self.handlers.clone(),
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
        Self {
            entries: Vec::new(),
            handlers: Vec::new(),
        }
    }

    /// Handles a topic's messages. `make` makes the handler of one partition, anew whenever what it may
    /// have cached is in doubt.
    #[must_use]
    pub fn handle<H: Handler<L>>(mut self, make: impl Fn() -> H + Send + Sync + 'static) -> Self {
        let topic = H::Message::TOPIC;
        let make: Arc<dyn Fn() -> H + Send + Sync> = Arc::new(make);
        let for_release = Arc::clone(&make);
        let worker: MakeWorker<L> = Arc::new(move |runtime, partition, position, log| {
            let body = Messages::new(topic.kind, Arc::clone(&make));
            match log {
                Some(log) => Box::new(Worker::new(runtime, partition, position, Logged::new(log, body))),
                None => Box::new(Worker::new(runtime, partition, position, body)),
            }
        });
        let release: Release<L> = Arc::new(move |runtime, partition, key| {
            let body = Messages::new(topic.kind, Arc::clone(&for_release));
            Box::pin(release::run(runtime, body, partition, key))
        });
        let entry = self.entry_of(topic);
        assert!(
            entry.handle.is_none(),
            "{} has a handler already: its position can only be moved by one",
            topic.name
        );
        entry.handle = Some(worker);
        entry.release = Some(release);
        self
    }

    /// Takes a topic's raw records, in log order. Where the topic has a handler too, both work in one
    /// transaction, the log first.
    #[must_use]
    pub fn log<H: LogHandler<L>>(
        mut self,
        topic: &'static Topic,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self {
        let entry = self.entry_of(topic);
        assert!(entry.log.is_none(), "{} is logged already", topic.name);
        entry.log = Some(Arc::new(move || Box::new(make())));
        self
    }

    /// Does operations of the service's own, beside those that every service does. Of several handlers, the first that
    /// takes a command up does it.
    #[must_use]
    pub fn handle_ops(mut self, handler: impl OpsHandler<L>) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// The same with `ops.commands`, which every service listens to.
    pub(crate) fn with_ops(&self, runtime: &Arc<Runtime<L>>) -> Self {
        let (runtime, entries) = (Arc::clone(runtime), Arc::new(self.entries.clone()));
        let handlers = Arc::new(self.handlers.clone());
        self.clone().handle(move || Ops {
            runtime: Arc::clone(&runtime),
            entries: Arc::clone(&entries),
            handlers: Arc::clone(&handlers),
        })
    }

    /// The topics, in the order they were added.
    pub fn topics(&self) -> impl Iterator<Item = &'static Topic> + '_ {
        self.entries.iter().map(|entry| entry.topic)
    }

    fn entry_of(&mut self, topic: &'static Topic) -> &mut Entry<L> {
        let known = self.entries.iter().position(|entry| entry.topic.name == topic.name);
        let index = known.unwrap_or_else(|| {
            self.entries.push(Entry {
                topic,
                log: None,
                handle: None,
                release: None,
            });
            self.entries.len() - 1
        });
        &mut self.entries[index]
    }

    pub(crate) fn entry(&self, topic: &str) -> Option<&Entry<L>> {
        self.entries.iter().find(|entry| entry.topic.name == topic)
    }
}
