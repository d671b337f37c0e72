//! The consumer: one poll thread per process, a few lanes that own the assigned partitions, and bounded queues between
//! them.
//!
//! Positions come from the store, not from Kafka: on assignment, they are put into the list that is assigned. The group's
//! committed offsets follow, only for lag tools.

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

use self::assignment::Assignments;
use crate::consuming::lane::queue::{PartitionLag, Room};
use crate::consuming::subscriptions::Subscriptions;
use crate::kafka::Settings;
use crate::kafka::client::Watched;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::record::Record;

/// Longest time that one poll waits for a record.
const POLL: Duration = Duration::from_millis(100);
/// The same while a partition is paused, because its queue must be checked often.
const POLL_WHILE_PAUSED: Duration = Duration::from_millis(2);
/// Time to leave the group when the process ends. It fits into the shutdown deadline after the drain of the lanes.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// The reason why the consumer ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Kafka consumer cannot be created")]
    Consumer(#[source] KafkaError),
    #[error("the topics cannot be subscribed to")]
    Subscribe(#[source] KafkaError),
    #[error("the Kafka consumer failed fatally")]
    Fatal(#[source] KafkaError),
    #[error("the poll thread ended unexpectedly")]
    Thread,
    #[error("a lane ended unexpectedly")]
    Lane,
}

/// Consumes the topics that a service subscribes to. Cheap to clone: the clones share one consumer.
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

    /// Returns the partitions that are assigned to this process.
    pub fn lags(&self) -> Vec<PartitionLag> {
        self.assignments.lags()
    }

    /// Requests the ends of the assigned partitions through the client that consumes, so that [`lags`](Self::lags) is up
    /// to date. Blocks for at most `timeout`.
    ///
    /// # Errors
    /// Returns an error if the brokers do not respond in time, or while the client is being replaced.
    pub(crate) fn query_ends(&self, timeout: Duration) -> Result<(), KafkaError> {
        let client = self.assignments.client.get()?;
        self.assignments.query_ends(&client, timeout)
    }

    /// Returns the client that consumes, for the watch.
    pub(crate) fn client(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.assignments.client) as Arc<dyn Watched>
    }

    /// Consumes until `stop`, then finishes the transactions in progress and leaves the group.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let (sender, ended) = oneshot::channel();
        let assignments = Arc::clone(&self.assignments);
        assignments.start_lanes();
        std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || {
                // The receiver is dropped only when the process is being torn down.
                let _ = sender.send(poll(&assignments, &stop));
            })
            .expect("a process can have one more thread");
        ended.await.unwrap_or(Err(Error::Thread))
    }
}

/// Polls with one client after another, because a client that reaches no broker is replaced.
fn poll<L: Ledger>(assignments: &Arc<Assignments<L>>, stop: &CancellationToken) -> Result<(), Error> {
    while let Ended::Replaced = poll_client(assignments, stop)? {}
    Ok(())
}

/// The reason why a client is no longer polled.
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
    let mut is_paused = false;
    let mut result = Ok(Ended::Stopped);
    while !stop.is_cancelled() {
        if is_paused {
            is_paused = assignments.resume(|list| consumer.resume(list));
        }
        match consumer.poll(if is_paused { POLL_WHILE_PAUSED } else { POLL }) {
            None => {}
            Some(Ok(message)) if assignments.enqueue(Record::read(&message)) == Room::Full => {
                assignments.pause(message.topic(), message.partition(), |list| consumer.pause(list));
                is_paused = true;
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
                    tracing::warn!(%error, "Kafka reported an error; the consumer continues");
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
            // Otherwise its partitions would stall unnoticed.
            if assignments.lane_has_ended() {
                result = Err(Error::Lane);
                break;
            }
        }
    }
    // The drain: every lane finishes its transaction, then the consumer leaves the group.
    assignments.finish_all();
    commit(assignments, &consumer);
    consumer.unsubscribe();
    if close(consumer).recv_timeout(CLOSE_LIMIT).is_err() {
        tracing::warn!("the consumer did not leave its group in time; the broker removes it after the session timeout");
    }
    result
}

/// Closes a client on a separate thread, because closing may wait for brokers that the client no longer reaches. The
/// receiver is notified at the end.
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

/// Commits the stored positions to the group, for lag tools. Never call it inside a rebalance
/// (confluentinc/librdkafka#4059).
fn commit<L: Ledger>(assignments: &Assignments<L>, consumer: &BaseConsumer<assignment::Context<L>>) {
    let Some(list) = assignments.positions_to_commit() else {
        return;
    };
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "the offsets of the group were not committed; they are only for lag tools");
    }
}

fn is_outside_the_log(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}
