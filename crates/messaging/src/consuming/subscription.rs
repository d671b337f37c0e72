//! The subscription to one topic, whatever the types of its handlers.

use std::sync::Arc;

use contracts::Topic;
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::consuming::log::{LogProcessor, MakeLog};
use crate::consuming::pipeline::Released;
use crate::consuming::release;
use crate::consuming::worker::{PartitionWorker, Worker};
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::record::TopicPartition;

pub(super) type MakeWorker<L> = Arc<
    dyn Fn(Arc<Runtime<L>>, TopicPartition, Option<i64>, Option<MakeLog<L>>) -> Box<dyn PartitionWorker> + Send + Sync,
>;
pub(super) type Release<L> = Arc<
    dyn Fn(Arc<Runtime<L>>, TopicPartition, Uuid) -> BoxFuture<'static, Result<Released, release::Error>> + Send + Sync,
>;

/// The handlers that a service has for one topic.
pub(crate) struct Subscription<L: Ledger> {
    pub(crate) topic: &'static Topic,
    pub(super) log: Option<MakeLog<L>>,
    pub(super) handle: Option<MakeWorker<L>>,
    pub(crate) release: Option<Release<L>>,
}

impl<L: Ledger> Subscription<L> {
    /// Creates the worker of one partition. `position` is the stored position.
    pub(crate) fn worker(
        &self,
        runtime: Arc<Runtime<L>>,
        partition: TopicPartition,
        position: Option<i64>,
    ) -> Box<dyn PartitionWorker> {
        match (&self.handle, self.log.clone()) {
            (Some(make), log) => make(runtime, partition, position, log),
            (None, Some(log)) => Box::new(Worker::new(runtime, partition, position, LogProcessor::new(log))),
            (None, None) => unreachable!("a subscription is created with a handler or a log"),
        }
    }
}

impl<L: Ledger> Clone for Subscription<L> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic,
            log: self.log.clone(),
            handle: self.handle.clone(),
            release: self.release.clone(),
        }
    }
}
