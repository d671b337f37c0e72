//! The partitions that are assigned to this process, their lanes, and what a rebalance does with them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chassis::error_chain;
use contracts::topics;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backoff::Stopped;
use crate::consuming::lane::Lane;
use crate::consuming::lane::queue::{PartitionLag, Queue, Room};
use crate::consuming::subscriptions::Subscriptions;
use crate::kafka::Settings;
use crate::kafka::client::WorkingClient;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

const OFFSETS_TIMEOUT: Duration = Duration::from_secs(5);
/// Fits into the shutdown deadline together with the drain of the relay.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Assignments<L: Ledger> {
    pub(super) client: Arc<WorkingClient<BaseConsumer<Context<L>>>>,
    pub(super) runtime: Arc<Runtime<L>>,
    pub(super) settings: Settings,
    subscriptions: Arc<Subscriptions<L>>,
    tokio: Handle,
    /// The queues of the lanes. The last one is for ops commands.
    queues: Vec<Arc<Queue>>,
    lanes: Mutex<Vec<JoinHandle<Result<(), Stopped>>>>,
    stop_lanes: CancellationToken,
    /// Assigned partitions whose position is outside the log.
    outside: Mutex<HashSet<TopicPartition>>,
}

impl<L: Ledger> Assignments<L> {
    pub(super) fn new(
        runtime: Arc<Runtime<L>>,
        settings: Settings,
        subscriptions: Arc<Subscriptions<L>>,
        tokio: Handle,
    ) -> Self {
        let queue = || Arc::new(Queue::new(settings.partition_queue));
        Self {
            client: Arc::default(),
            queues: std::iter::repeat_with(queue).take(settings.lanes.max(1) + 1).collect(),
            runtime,
            settings,
            subscriptions,
            tokio,
            lanes: Mutex::default(),
            stop_lanes: CancellationToken::new(),
            outside: Mutex::default(),
        }
    }

    /// Starts the lanes.
    pub(super) fn start_lanes(&self) {
        let start = |queue: &Arc<Queue>| {
            let (runtime, subscriptions) = (Arc::clone(&self.runtime), Arc::clone(&self.subscriptions));
            let lane = Lane::new(runtime, subscriptions, Arc::clone(queue), self.settings.lane_pace);
            self.tokio.spawn(lane.run(self.stop_lanes.clone()))
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.extend(self.queues.iter().map(start));
    }

    /// Returns the queue of a partition's lane.
    ///
    /// The lane depends on the partition's number alone, so that all topics of one key meet in one lane. Ops commands have
    /// a separate lane, because one may take minutes.
    fn queue(&self, partition: &TopicPartition) -> &Queue {
        let lanes = self.queues.len() - 1;
        if partition.topic == self.runtime.publisher.topic_name(&topics::OPS_COMMANDS) {
            return &self.queues[lanes];
        }
        &self.queues[usize::try_from(partition.partition).unwrap_or(0) % lanes]
    }

    pub(super) fn topic_names(&self) -> Vec<String> {
        self.subscriptions
            .topics()
            .map(|topic| self.runtime.publisher.topic_name(topic))
            .collect()
    }

    /// Queues a record for its lane.
    pub(super) fn enqueue(&self, record: Record) -> Room {
        self.queue(&record.partition).push(record)
    }

    pub(super) fn pause(&self, topic: &str, partition: i32, pause: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        let partition = TopicPartition::new(topic, partition);
        self.queue(&partition)
            .pause(&partition, || pause(&list([&partition])).is_ok());
    }

    /// Resumes partitions whose queues have room again. Returns `true` if a partition is still paused.
    pub(super) fn resume(&self, resume: impl Fn(&TopicPartitionList) -> KafkaResult<()>) -> bool {
        let resume = |partition: &TopicPartition| resume(&list([partition])).is_ok();
        let mut is_paused = false;
        for queue in &self.queues {
            is_paused |= queue.resume(resume);
        }
        is_paused
    }

    /// Returns the positions that advanced since they were last committed to the group.
    pub(super) fn positions_to_commit(&self) -> Option<TopicPartitionList> {
        let mut moved = TopicPartitionList::new();
        for (partition, position) in self.queues.iter().flat_map(|queue| queue.take_advanced()) {
            moved
                .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(position))
                .expect("a position is a valid offset");
        }
        (moved.count() > 0).then_some(moved)
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.queues.iter().flat_map(|queue| queue.partitions()).collect()
    }

    pub(super) fn lags(&self) -> Vec<PartitionLag> {
        self.queues.iter().flat_map(|queue| queue.lags()).collect()
    }

    pub(super) fn query_ends(&self, client: &BaseConsumer<Context<L>>, timeout: Duration) -> KafkaResult<()> {
        for (partition, end) in offsets(client, &self.partitions(), Offset::End, timeout)? {
            if let Some(lag) = self.queue(&partition).set_end(&partition, end) {
                let metrics = &self.runtime.metrics;
                metrics.lag(&partition.topic, partition.partition, lag.lag, lag.age);
            }
        }
        Ok(())
    }

    /// Hands the partitions to their lanes with the stored positions, and assigns them from there.
    fn assign(&self, consumer: &BaseConsumer<Context<L>>, given: &TopicPartitionList, stop: &CancellationToken) {
        let wanted = partitions_of(given);
        let Some(stored) = self.stored_positions(&wanted, stop) else {
            return assign_paused(consumer, given);
        };
        let logs = log_ranges(consumer, &wanted);
        let mut start = TopicPartitionList::new();
        let mut outside = Vec::new();
        for partition in wanted {
            let position = stored.get(&partition).copied();
            let at = match logs.get(&partition).copied() {
                // Without a position, this service has read nothing yet: it begins with the oldest record.
                Some((low, _)) if position.is_none() => Offset::Offset(low),
                Some((low, high)) => {
                    let position = position.expect("matched above");
                    if position < low || position > high {
                        tracing::error!(%partition, position, low, high,
                            "the stored position is outside the log: records are lost, or the topic was recreated; \
                             the partition is stopped until an operator corrects the position");
                        outside.push(partition.clone());
                        Offset::End
                    } else {
                        Offset::Offset(position)
                    }
                }
                // The broker did not report its log; a fetch outside the log is an error that is handled when it occurs.
                None => position.map_or(Offset::Beginning, Offset::Offset),
            };
            start
                .add_partition_offset(&partition.topic, partition.partition, at)
                .expect("a stored position is a valid offset");
            if !outside.contains(&partition) {
                let end = logs.get(&partition).map_or(0, |(_, high)| *high);
                // Without a stored position, lag counts from where the fetch begins.
                let begin = at.to_raw().unwrap_or(0).max(0);
                self.queue(&partition).assign(partition.clone(), position, begin, end);
            }
        }
        if let Err(error) = consumer.incremental_assign(&start) {
            tracing::error!(%error, "librdkafka refused the assignment; waiting for the next one");
        }
        if !outside.is_empty() {
            self.update_outside(|stopped| stopped.extend(outside.iter().cloned()));
            // Nothing more is fetched for them, and records that were fetched already have no worker.
            if let Err(error) = consumer.pause(&list(&outside)) {
                tracing::warn!(%error, "a stopped partition is still fetched; its records are discarded");
            }
        }
    }

    /// Takes these partitions from their lanes, and discards the queued records. A transaction in progress continues; the
    /// stored position shows to the next owner whether it committed.
    fn revoke(&self, taken: impl IntoIterator<Item = TopicPartition>) {
        for partition in taken {
            self.queue(&partition).revoke(&partition);
            self.runtime.metrics.remove_lag(&partition.topic, partition.partition);
            self.update_outside(|stopped| {
                stopped.remove(&partition);
            });
        }
    }

    /// Revokes all partitions of a replaced client.
    pub(super) fn revoke_all(&self) {
        let mut assigned = self.partitions();
        self.update_outside(|stopped| assigned.extend(stopped.iter().cloned()));
        self.revoke(assigned);
    }

    /// Changes the set of stopped partitions, and updates the metric.
    fn update_outside(&self, change: impl FnOnce(&mut HashSet<TopicPartition>)) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut outside);
        self.runtime.metrics.stopped_partitions.set(outside.len() as i64);
    }

    /// Returns `true` if a lane ended without being stopped: it panicked, or a stored position went back.
    pub(super) fn lane_has_ended(&self) -> bool {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().any(JoinHandle::is_finished) && !self.stop_lanes.is_cancelled()
    }

    /// Drains: waits until every lane has finished its transaction. The positions stay readable for a last commit.
    pub(super) fn finish_all(&self) {
        self.stop_lanes.cancel();
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        let all = futures::future::join_all(lanes);
        if self
            .tokio
            .block_on(async { tokio::time::timeout(DRAIN_LIMIT, all).await })
            .is_err()
        {
            tracing::warn!("a transaction did not end in time; the stored position will show whether it was committed");
        }
    }

    fn stored_positions(
        &self,
        partitions: &[TopicPartition],
        stop: &CancellationToken,
    ) -> Option<HashMap<TopicPartition, i64>> {
        loop {
            match self.tokio.block_on(self.runtime.ledger.positions(partitions)) {
                Ok(positions) => return Some(positions),
                Err(_) if stop.is_cancelled() => return None,
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        "waiting for the store, to read the positions"
                    );
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    /// Checks all positions, because Kafka reports that one is outside the log, but not which one.
    pub(super) fn stop_partitions_outside_the_log(&self, consumer: &BaseConsumer<Context<L>>) {
        for (partition, (low, high)) in log_ranges(consumer, &self.partitions()) {
            let Some(position) = self.queue(&partition).position(&partition) else {
                continue;
            };
            if position < low || position > high {
                tracing::error!(%partition, position, low, high,
                    "the stored position is outside the log; the partition is stopped until an operator corrects the position");
                self.update_outside(|stopped| {
                    stopped.insert(partition.clone());
                });
                self.runtime.metrics.remove_lag(&partition.topic, partition.partition);
                self.queue(&partition).revoke(&partition);
                if let Err(error) = consumer.pause(&list([&partition])) {
                    tracing::warn!(%error, "a stopped partition is still fetched; its records are discarded");
                }
            }
        }
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Returns the first and the next offset of each log, except for partitions whose log the broker does not report.
/// A fetch outside the log is an error that is handled when it occurs.
fn log_ranges<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> HashMap<TopicPartition, (i64, i64)> {
    let of = |offset| offsets(consumer, partitions, offset, OFFSETS_TIMEOUT);
    match of(Offset::Beginning).and_then(|low| Ok((low, of(Offset::End)?))) {
        Ok((low, mut high)) => {
            let both = |(partition, low)| {
                high.remove_entry(&partition)
                    .map(|(partition, high)| (partition, (low, high)))
            };
            low.into_iter().filter_map(both).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the broker did not report where the logs begin and end");
            HashMap::new()
        }
    }
}

/// Requests the first (`Offset::Beginning`) or the next offset (`Offset::End`) of all partitions in one request (ListOffsets).
/// The result lacks partitions that have no leader.
fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    which: Offset,
    timeout: Duration,
) -> KafkaResult<HashMap<TopicPartition, i64>> {
    if partitions.is_empty() {
        return Ok(HashMap::new()); // librdkafka refuses an empty request.
    }
    let request = |partitions: &[TopicPartition], timeout| {
        let mut request = list(partitions);
        request.set_all_offsets(which)?;
        let found = consumer.offsets_for_times(request, timeout)?;
        let found = found
            .elements()
            .into_iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) if element.error().is_ok() => {
                    Some((TopicPartition::new(element.topic(), element.partition()), offset))
                }
                _ => None,
            });
        KafkaResult::Ok(found.collect::<HashMap<_, _>>())
    };
    let deadline = Instant::now() + timeout;
    let error = match request(partitions, timeout / 2) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    // One leader that does not respond fails the request for all partitions, so each is requested separately.
    let mut found = HashMap::new();
    for (index, partition) in partitions.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(partitions.len() - index).unwrap_or(u32::MAX);
        found.extend(request(std::slice::from_ref(partition), share).unwrap_or_default());
    }
    if found.is_empty() { Err(error) } else { Ok(found) }
}

/// Accepts an assignment without fetching from it.
fn assign_paused<C: ConsumerContext>(consumer: &BaseConsumer<C>, partitions: &TopicPartitionList) {
    let taken = consumer.incremental_assign(partitions);
    if let Err(error) = taken.and_then(|()| consumer.pause(partitions)) {
        tracing::debug!(%error, "a client that is ending did not accept an assignment");
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements().into_iter();
    elements
        .map(|element| TopicPartition::new(element.topic(), element.partition()))
        .collect()
}

/// The callbacks that librdkafka calls on the poll thread.
pub(super) struct Context<L: Ledger> {
    assignments: Arc<Assignments<L>>,
    stop: CancellationToken,
    retired: CancellationToken,
}

impl<L: Ledger> Context<L> {
    pub(super) fn new(assignments: Arc<Assignments<L>>, stop: CancellationToken) -> Self {
        Self {
            assignments,
            stop,
            retired: CancellationToken::new(),
        }
    }

    /// Returns a token that is cancelled when another client has replaced this one, which then must not change the
    /// assignment any more.
    pub(super) fn retired(&self) -> CancellationToken {
        self.retired.clone()
    }
}

impl<L: Ledger> ClientContext for Context<L> {
    /// Finds partitions of which the client has handed over everything. Their lag is zero, although offsets at the end of
    /// the log may hold no record.
    fn stats(&self, statistics: Statistics) {
        if self.retired.is_cancelled() {
            return;
        }
        for topic in statistics.topics.values() {
            let partitions = topic.partitions.values();
            for partition in partitions.filter(|partition| partition.partition >= 0 && partition.fetchq_cnt == 0) {
                let name = TopicPartition::new(topic.topic.as_str(), partition.partition);
                self.assignments.queue(&name).set_read(&name, partition.next_offset);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the Kafka client reported an error");
    }
}

impl<L: Ledger> ConsumerContext for Context<L> {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_assignment = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        match (is_assignment, self.retired.is_cancelled()) {
            // librdkafka closes the client only after it has accepted the assignment.
            (true, true) => assign_paused(consumer, partitions),
            (true, false) => self.assignments.assign(consumer, partitions, &self.stop),
            (false, retired) => {
                if !retired {
                    self.assignments.revoke(partitions_of(partitions));
                }
                // A pause belongs to an assignment, but librdkafka keeps it across assignments.
                if let Err(error) = consumer.resume(partitions) {
                    tracing::warn!(%error, "revoked partitions were not resumed");
                }
                if let Err(error) = consumer.incremental_unassign(partitions) {
                    tracing::warn!(%error, "revoked partitions were not unassigned");
                }
            }
        }
        tracing::info!(
            assigned = self.assignments.partitions().len(),
            "the partitions were rebalanced"
        );
    }
}
