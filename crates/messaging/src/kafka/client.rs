//! The Kafka clients that do a process's work, and how they are probed and replaced.
//!
//! librdkafka drops every broker when a Metadata response lists none, and may then never connect again
//! (confluentinc/librdkafka#5301). A process therefore probes the clients that do its work, not a separate one, and
//! replaces a client that has no broker although Kafka responds to a new client.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

/// Time that a new client has to reach a broker before [`connect`] tries another one.
const ATTEMPT: Duration = Duration::from_secs(2);

/// A client whose connection to Kafka can be probed.
pub trait Probe: Send + Sync + 'static {
    /// Requests the metadata of `topic` through this client. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// Returns an error if no broker responds in time, or if the cluster lists no broker. A missing topic is not an
    /// error.
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()>;
}

impl<C: ConsumerContext + 'static> Probe for BaseConsumer<C> {
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()> {
        find_broker(self.client(), topic, timeout)
    }
}

impl<C: ProducerContext + 'static> Probe for ThreadedProducer<C> {
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()> {
        find_broker(self.client(), topic, timeout)
    }
}

impl Probe for FutureProducer {
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()> {
        find_broker(self.client(), topic, timeout)
    }
}

impl<C: ClientContext + 'static> Probe for AdminClient<C> {
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()> {
        find_broker(self.inner(), topic, timeout)
    }
}

fn find_broker<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> KafkaResult<()> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    if metadata.brokers().is_empty() {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown));
    }
    Ok(())
}

/// Creates a client that has reached a broker, and blocks for `timeout` at most. A client that reaches none is replaced
/// by a new one, because it may never reach one.
pub(crate) fn connect<C: Probe + FromClientConfig>(
    config: &ClientConfig,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<C> {
    let deadline = Instant::now() + timeout;
    loop {
        let client: C = config.create()?;
        let left = deadline.saturating_duration_since(Instant::now());
        match client.probe(topic, left.min(ATTEMPT)) {
            Ok(()) => return Ok(client),
            Err(error) if left <= ATTEMPT => return Err(error),
            Err(error) => tracing::debug!(%error, "connecting with a new Kafka client"),
        }
    }
}

/// The current client of one kind, as the watch sees it.
pub(crate) trait Watched: Send + Sync {
    /// Returns the number of the current client. It increases with each replacement.
    fn generation(&self) -> u64;

    /// [Probes](Probe::probe) the current client.
    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()>;

    /// Requests that the owner replaces the client of this generation. A request for an earlier generation is ignored,
    /// because it was based on the behaviour of that client.
    fn request_replacement(&self, generation: u64);
}

/// The current client for one kind of work, shared by its owner and its watchers.
pub(crate) struct WorkingClient<C> {
    current: Mutex<Current<C>>,
    replacement: Notify,
}

struct Current<C> {
    client: Weak<C>,
    generation: u64,
}

impl<C> Default for WorkingClient<C> {
    fn default() -> Self {
        Self {
            current: Mutex::new(Current {
                client: Weak::new(),
                generation: 0,
            }),
            replacement: Notify::new(),
        }
    }
}

impl<C> WorkingClient<C> {
    /// Sets the client that is watched. Its owner drops it when it is replaced.
    pub(crate) fn set(&self, client: &Arc<C>) {
        let mut current = self.current();
        current.client = Arc::downgrade(client);
        current.generation += 1;
        // A request that is still pending was for the client before.
        self.take_request();
    }

    /// Returns the client.
    ///
    /// # Errors
    /// Returns an error while the owner creates one.
    pub(crate) fn get(&self) -> KafkaResult<Arc<C>> {
        let client = self.current().client.upgrade();
        client.ok_or_else(|| KafkaError::ClientCreation("the client is being created".to_owned()))
    }

    fn current(&self) -> MutexGuard<'_, Current<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a replacement is requested.
    pub(crate) fn replacement_requested(&self) -> impl Future<Output = ()> + '_ {
        self.replacement.notified()
    }

    /// Returns `true` if a replacement was requested since the last call.
    pub(crate) fn take_request(&self) -> bool {
        self.replacement_requested().now_or_never().is_some()
    }
}

impl<C: Probe> Watched for WorkingClient<C> {
    fn generation(&self) -> u64 {
        self.current().generation
    }

    fn probe(&self, topic: &str, timeout: Duration) -> KafkaResult<()> {
        self.get()?.probe(topic, timeout)
    }

    fn request_replacement(&self, generation: u64) {
        let current = self.current();
        if current.generation == generation {
            self.replacement.notify_one();
        }
    }
}
