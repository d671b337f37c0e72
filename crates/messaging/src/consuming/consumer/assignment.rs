//! The partitions that are assigned to this process, their queues and workers, and what a rebalance does with them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chassis::error_chain;
use contracts::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::PartitionLag;
use crate::consuming::subscriptions::Subscriptions;
use crate::consuming::worker::PartitionWorker;
use crate::kafka::Settings;
use crate::kafka::client::WorkingClient;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

const OFFSETS_TIMEOUT: Duration = Duration::from_secs(5);
/// Fits into the shutdown deadline together with the drain of the relay.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The state of a partition's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    Full,
}

pub(super) struct Assignments<L: Ledger> {
    pub(super) client: Arc<WorkingClient<BaseConsumer<Context<L>>>>,
    pub(super) runtime: Arc<Runtime<L>>,
    pub(super) settings: Settings,
    subscriptions: Arc<Subscriptions<L>>,
    tokio: Handle,
    partitions: Mutex<HashMap<TopicPartition, Assigned>>,
    /// Workers of revoked partitions that are finishing their transactions.
    leaving: Mutex<Vec<JoinHandle<()>>>,
    /// Assigned partitions whose position is outside the log.
    outside: Mutex<HashSet<TopicPartition>>,
}

struct Assigned {
    queue: mpsc::Sender<Record>,
    /// Records that did not fit into the queue. Fetching is paused meanwhile.
    overflow: VecDeque<Record>,
    paused: bool,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    progress: Arc<Progress>,
    committed: i64,
    end: i64,
}

/// The progress that a worker reports.
#[derive(Default)]
struct Progress {
    position: AtomicI64,
    /// Timestamp of the oldest record that the worker holds, in microseconds; 0 if it holds none.
    oldest: AtomicI64,
    /// `true` while the worker holds records.
    busy: AtomicBool,
}

impl<L: Ledger> Assignments<L> {
    pub(super) fn new(
        runtime: Arc<Runtime<L>>,
        settings: Settings,
        subscriptions: Arc<Subscriptions<L>>,
        tokio: Handle,
    ) -> Self {
        Self {
            client: Arc::default(),
            runtime,
            settings,
            subscriptions,
            tokio,
            partitions: Mutex::default(),
            leaving: Mutex::default(),
            outside: Mutex::default(),
        }
    }

    pub(super) fn topic_names(&self) -> Vec<String> {
        self.subscriptions
            .topics()
            .map(|topic| self.runtime.publisher.topic_name(topic))
            .collect()
    }

    fn partitions(&self) -> MutexGuard<'_, HashMap<TopicPartition, Assigned>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record for its worker. A record of an old assignment is discarded, because its partition may belong to
    /// another process now.
    pub(super) fn enqueue(&self, record: Record) -> Room {
        let mut partitions = self.partitions();
        let Some(assigned) = partitions.get_mut(&record.partition) else {
            return Room::Enough;
        };
        if assigned.overflow.is_empty() {
            match assigned.queue.try_send(record) {
                Ok(()) | Err(TrySendError::Closed(_)) => return Room::Enough,
                Err(TrySendError::Full(record)) => assigned.overflow.push_back(record),
            }
        } else {
            assigned.overflow.push_back(record);
        }
        Room::Full
    }

    pub(super) fn pause(&self, topic: &str, partition: i32, pause: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
        let partition = TopicPartition::new(topic, partition);
        let mut partitions = self.partitions();
        if let Some(assigned) = partitions.get_mut(&partition).filter(|assigned| !assigned.paused) {
            assigned.paused = pause(&list([&partition])).is_ok();
        }
    }

    /// Moves overflowed records into their queues, and resumes partitions whose queues have room again.
    ///
    /// Returns `true` if a partition is still paused.
    pub(super) fn refill(&self, resume: impl Fn(&TopicPartitionList) -> KafkaResult<()>) -> bool {
        let mut waiting = false;
        for (partition, assigned) in self.partitions().iter_mut() {
            while let Some(record) = assigned.overflow.pop_front() {
                if let Err(TrySendError::Full(record)) = assigned.queue.try_send(record) {
                    assigned.overflow.push_front(record);
                    break;
                }
            }
            if assigned.paused {
                let room = assigned.queue.capacity() * 2 >= assigned.queue.max_capacity();
                if assigned.overflow.is_empty() && room && resume(&list([partition])).is_ok() {
                    assigned.paused = false;
                } else {
                    waiting = true;
                }
            }
        }
        waiting
    }

    /// Returns the positions that advanced since they were last committed to the group.
    pub(super) fn positions_to_commit(&self) -> Option<TopicPartitionList> {
        let mut moved = TopicPartitionList::new();
        for (partition, assigned) in self.partitions().iter_mut() {
            let position = assigned.progress.position.load(Ordering::Acquire);
            if position > assigned.committed {
                assigned.committed = position;
                moved
                    .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(position))
                    .expect("a position is a valid offset");
            }
        }
        (moved.count() > 0).then_some(moved)
    }

    pub(super) fn lags(&self) -> Vec<PartitionLag> {
        self.partitions()
            .iter()
            .map(|(partition, assigned)| assigned.lag(partition))
            .collect()
    }

    pub(super) fn query_ends(&self, client: &BaseConsumer<Context<L>>, timeout: Duration) -> KafkaResult<()> {
        let assigned: Vec<_> = self.partitions().keys().cloned().collect();
        for (partition, end) in offsets(client, &assigned, Offset::End, timeout)? {
            if let Some(assigned) = self.partitions().get_mut(&partition) {
                assigned.end = assigned.end.max(end);
                let lag = assigned.lag(&partition);
                let metrics = &self.runtime.metrics;
                metrics.lag(&partition.topic, partition.partition, lag.lag, lag.age);
            }
        }
        Ok(())
    }

    /// Starts workers at the stored positions, and assigns the partitions from there.
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
                self.start_worker(partition, position, at, end);
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

    fn start_worker(&self, partition: TopicPartition, position: Option<i64>, begin: Offset, end: i64) {
        let topic = self
            .subscriptions
            .subscriptions
            .iter()
            .find(|subscription| self.runtime.publisher.topic_name(subscription.topic) == partition.topic)
            .expect("only subscribed topics are assigned");
        let worker = topic.worker(Arc::clone(&self.runtime), partition.clone(), position);
        let (queue, records) = mpsc::channel(self.settings.partition_queue);
        let stop = CancellationToken::new();
        let progress = Arc::new(Progress::default());
        // Without a stored position, lag counts from where the fetch begins.
        progress
            .position
            .store(begin.to_raw().unwrap_or(0).max(0), Ordering::Release);
        let run = run(
            worker,
            records,
            stop.clone(),
            Arc::clone(&progress),
            self.settings.batch,
        );
        let assigned = Assigned {
            queue,
            overflow: VecDeque::new(),
            paused: false,
            stop,
            worker: self.tokio.spawn(run),
            progress,
            committed: 0,
            end,
        };
        if let Some(old) = self.partitions().insert(partition, assigned) {
            self.stop_worker(old);
        }
    }

    /// Stops the workers of these partitions after their current transaction, and discards the queued records.
    fn revoke(&self, taken: impl IntoIterator<Item = TopicPartition>) {
        for partition in taken {
            if let Some(assigned) = self.partitions().remove(&partition) {
                self.stop_worker(assigned);
            }
            self.runtime.metrics.remove_lag(&partition.topic, partition.partition);
            self.update_outside(|stopped| {
                stopped.remove(&partition);
            });
        }
    }

    /// Revokes all partitions of a replaced client.
    pub(super) fn revoke_all(&self) {
        let mut assigned: Vec<_> = self.partitions().keys().cloned().collect();
        self.update_outside(|stopped| assigned.extend(stopped.iter().cloned()));
        self.revoke(assigned);
    }

    /// Changes the set of stopped partitions, and updates the metric.
    fn update_outside(&self, change: impl FnOnce(&mut HashSet<TopicPartition>)) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut outside);
        self.runtime.metrics.stopped_partitions.set(outside.len() as i64);
    }

    /// Returns a partition whose worker ended without being stopped: it panicked, or its stored position went back.
    pub(super) fn unexpectedly_ended(&self) -> Option<TopicPartition> {
        self.partitions()
            .iter()
            .find(|(_, assigned)| assigned.worker.is_finished() && !assigned.stop.is_cancelled())
            .map(|(partition, _)| partition.clone())
    }

    fn stop_worker(&self, assigned: Assigned) {
        assigned.stop.cancel();
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|worker| !worker.is_finished());
        leaving.push(assigned.worker);
    }

    /// Drains: waits until every worker has finished its transaction. The positions stay readable for a last commit.
    pub(super) fn finish_all(&self) {
        let mut workers: Vec<_> = self
            .leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect();
        for assigned in self.partitions().values_mut() {
            assigned.stop.cancel();
            workers.push(std::mem::replace(&mut assigned.worker, self.tokio.spawn(async {})));
        }
        let all = futures::future::join_all(workers);
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
        let assigned: Vec<_> = self.partitions().keys().cloned().collect();
        for (partition, (low, high)) in log_ranges(consumer, &assigned) {
            let position = self.partitions()[&partition].progress.position.load(Ordering::Acquire);
            if position < low || position > high {
                tracing::error!(%partition, position, low, high,
                    "the stored position is outside the log; the partition is stopped until an operator corrects the position");
                self.update_outside(|stopped| {
                    stopped.insert(partition.clone());
                });
                self.runtime.metrics.remove_lag(&partition.topic, partition.partition);
                if let Some(assigned) = self.partitions().remove(&partition) {
                    self.stop_worker(assigned);
                }
                if let Err(error) = consumer.pause(&list([&partition])) {
                    tracing::warn!(%error, "a stopped partition is still fetched; its records are discarded");
                }
            }
        }
    }
}

impl Assigned {
    fn lag(&self, partition: &TopicPartition) -> PartitionLag {
        let position = self.progress.position.load(Ordering::Acquire);
        let lag = (self.end - position).max(0);
        let oldest = self.progress.oldest.load(Ordering::Acquire);
        let age = match (lag, oldest) {
            (0, _) | (_, 0) => Duration::ZERO,
            (_, oldest) => {
                let micros = Timestamp::now().as_micros() - oldest;
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
        };
        PartitionLag {
            partition: partition.clone(),
            position,
            lag,
            age,
            is_idle: !self.progress.busy.load(Ordering::Acquire),
        }
    }
}

/// Passes the waiting records to the worker, up to `limit` at a time, without waiting for more.
async fn run(
    mut worker: Box<dyn PartitionWorker>,
    mut records: mpsc::Receiver<Record>,
    stop: CancellationToken,
    progress: Arc<Progress>,
    limit: usize,
) {
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = records.recv_many(&mut batch, limit) => received,
        };
        if received == 0 {
            return;
        }
        progress.busy.store(true, Ordering::Release);
        progress.oldest.store(batch[0].timestamp.as_micros(), Ordering::Release);
        if worker.process(std::mem::take(&mut batch), &stop).await.is_err() {
            return;
        }
        progress
            .position
            .store(worker.position().unwrap_or(0), Ordering::Release);
        if records.is_empty() {
            progress.busy.store(false, Ordering::Release);
            progress.oldest.store(0, Ordering::Release);
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

/// Requests the first (`Offset::Beginning`) or the next offset (`Offset::End`) of all partitions at once (ListOffsets).
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
