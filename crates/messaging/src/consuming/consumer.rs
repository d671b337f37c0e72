//! The consumer: one poll thread a process, one worker an assigned partition, bounded queues between them.
//!
//! Positions come from the store, not from Kafka: on assignment they are put into the list that is assigned.
//! The group's committed offsets follow, for lag tools only.

mod assignment;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::assignment::{Assignments, Room};
use crate::consuming::subscriptions::Subscriptions;
use crate::kafka::Settings;
use crate::kafka::client::Watched;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::record::{Record, TopicPartition};

const POLL: Duration = Duration::from_millis(100);
/// While a partition is paused, its queue is looked at this often.
const POLL_WHILE_PAUSED: Duration = Duration::from_millis(2);
/// Time to leave the group when the process ends: within what the drain leaves of the shutdown deadline.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
const COMMIT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Kafka consumer can't be made")]
    Consumer(#[source] KafkaError),
    #[error("the topics can't be subscribed to")]
    Subscribe(#[source] KafkaError),
    #[error("the Kafka consumer failed fatally")]
    Fatal(#[source] KafkaError),
    #[error("the poll thread ended")]
    Thread,
    #[error("the worker of {0} ended, and nobody asked it to")]
    Worker(TopicPartition),
}

/// A snapshot of one assigned partition.
#[derive(Debug, Clone)]
pub struct PartitionLag {
    pub partition: TopicPartition,
    pub position: i64,
    pub lag: i64,
    /// Age of the next record; zero at the end of the partition.
    pub age: Duration,
    /// Whether the worker holds no record. If there is a lag all the same, nothing is fetched.
    pub is_idle: bool,
}

/// Consumes what a service subscribed to. Cheap to clone: the clones show the same consumer.
pub struct Consumer<L: Ledger> {
    assignments: Arc<Assignments<L>>,
}

impl<L: Ledger> Clone for Consumer<L> {
    fn clone(&self) -> Self {
        Self {
            assignments: Arc::clone(&self.assignments),
        }
    }
}

impl<L: Ledger> Consumer<L> {
    pub(crate) fn new(runtime: Arc<Runtime<L>>, settings: Settings, subscriptions: Arc<Subscriptions<L>>) -> Self {
        Self {
            assignments: Arc::new(Assignments::new(runtime, settings, subscriptions, Handle::current())),
        }
    }

    /// The partitions that this process works on.
    pub fn lags(&self) -> Vec<PartitionLag> {
        self.assignments.lags()
    }

    /// Asks Kafka, through the client that consumes, where the assigned partitions end, so that [`lags`](Self::lags) is
    /// up to date. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// Returns an error if the brokers do not respond in time, or while the client is being replaced.
    pub(crate) fn query_ends(&self, timeout: Duration) -> Result<(), KafkaError> {
        let client = self.assignments.client.get()?;
        self.assignments.query_ends(&client, timeout)
    }

    /// The client that consumes, to be watched.
    pub(crate) fn client(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.assignments.client) as Arc<dyn Watched>
    }

    /// Consumes until `stop`; then the transactions under way are finished and the group is left.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let (sender, ended) = oneshot::channel();
        let assignments = Arc::clone(&self.assignments);
        std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || {
                // The receiver is gone only when the process is being torn down.
                let _ = sender.send(poll(&assignments, &stop));
            })
            .expect("a process can have one more thread");
        ended.await.unwrap_or(Err(Error::Thread))
    }
}

/// Polls with one client after the other: a client that has no broker is replaced.
fn poll<L: Ledger>(assignments: &Arc<Assignments<L>>, stop: &CancellationToken) -> Result<(), Error> {
    while let Ended::Replaced = poll_client(assignments, stop)? {}
    Ok(())
}

/// Why a client is no longer polled.
enum Ended {
    Stopped,
    Replaced,
}

fn poll_client<L: Ledger>(assignments: &Arc<Assignments<L>>, stop: &CancellationToken) -> Result<Ended, Error> {
    let settings = &assignments.settings;
    let config: ClientConfig = settings.consumer(assignments.runtime.service);
    let context = assignment::Context::new(Arc::clone(assignments), stop.clone());
    let retired = context.retired();
    let consumer: BaseConsumer<_> = config.create_with_context(context).map_err(Error::Consumer)?;
    let consumer = Arc::new(consumer);
    assignments.client.set(&consumer);
    let topics: Vec<_> = assignments.topic_names();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(Error::Subscribe)?;

    let mut next_commit = Instant::now() + COMMIT_EVERY;
    let mut result = Ok(Ended::Stopped);
    while !stop.is_cancelled() {
        let paused = assignments.refill(|list| consumer.resume(list));
        match consumer.poll(if paused { POLL_WHILE_PAUSED } else { POLL }) {
            None => {}
            Some(Ok(message)) if assignments.pass_on(Record::read(&message)) == Room::Full => {
                assignments.pause(message.topic(), message.partition(), |list| consumer.pause(list));
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                result = Err(Error::Fatal(KafkaError::MessageConsumptionFatal(code)));
                break;
            }
            Some(Err(error)) => {
                if is_outside_the_log(&error) {
                    assignments.stop_partitions_outside_the_log(&consumer);
                } else {
                    tracing::warn!(%error, "Kafka reported an error; the consumer goes on");
                }
            }
        }
        if assignments.client.take_request() {
            retired.cancel();
            assignments.revoke_all();
            close(consumer);
            return Ok(Ended::Replaced);
        }
        if Instant::now() >= next_commit {
            next_commit = Instant::now() + COMMIT_EVERY;
            commit(assignments, &consumer);
            // Its partition would stand still, and nothing would show it.
            if let Some(partition) = assignments.ended() {
                result = Err(Error::Worker(partition));
                break;
            }
        }
    }
    // Draining: every worker finishes the transaction under way, then the group is left.
    assignments.finish_all();
    commit(assignments, &consumer);
    consumer.unsubscribe();
    if close(consumer).recv_timeout(CLOSE_LIMIT).is_err() {
        tracing::warn!("the group was not left in time; the broker notices by its session timeout");
    }
    result
}

/// Closes a client on a separate thread, because closing may wait for brokers that the client no longer has. The receiver
/// is notified at the end.
fn close<L: Ledger>(mut consumer: Arc<BaseConsumer<assignment::Context<L>>>) -> mpsc::Receiver<()> {
    let (ended, closed) = mpsc::channel();
    let closing = std::thread::Builder::new().name("kafka-close".to_owned());
    let close = move || {
        // A watcher may still use the client, and must not be the one that closes it.
        while let Err(shared) = Arc::try_unwrap(consumer).map(drop) {
            consumer = shared;
            std::thread::sleep(POLL);
        }
        // The receiver may have been dropped.
        let _ = ended.send(());
    };
    closing.spawn(close).expect("a process can have one more thread");
    closed
}

/// The stored positions, for lag tools. Never inside a rebalance (librdkafka 4059).
fn commit<L: Ledger>(assignments: &Assignments<L>, consumer: &BaseConsumer<assignment::Context<L>>) {
    let Some(list) = assignments.positions_to_commit() else {
        return;
    };
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "the group's offsets were not committed; the stored positions count");
    }
}

fn is_outside_the_log(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}
