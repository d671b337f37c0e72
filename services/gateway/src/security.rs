//! The security log: facts about sign-ins and permissions, on the topic `gateway.security`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contracts::{Actor, SecurityFact};
use messaging::{Cause, Outgoing, Publisher, Unit};
use postgres::Postgres;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use crate::operations::GATEWAY;

/// Maximum number of entries that wait to be written. Further entries are dropped, and a warning is logged.
const QUEUE: usize = 1_024;
/// Maximum number of entries in one transaction.
const BATCH: usize = 256;
/// Period in which identical entries are recorded once, so a thousand attempts per second do not fill the topic.
const DEDUPLICATION_PERIOD: Duration = Duration::from_secs(60);
/// Maximum number of different entries in one period.
const MAX_ENTRIES: usize = 4_096;
/// Pause after a failed write.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Returns the message for a security fact about a user. A fact without a user has the nil UUID as its key.
pub fn security_fact(user: Option<Uuid>, fact: impl Into<SecurityFact>) -> Outgoing<SecurityFact> {
    Outgoing::new(user.unwrap_or_default(), fact)
}

/// Returns the cause of messages that a request publishes without an operation.
pub fn request_cause(actor: Actor) -> Cause {
    Cause::origin(Uuid::now_v7(), Some(actor), tracing::Span::current().context())
}

/// Records denials, which belong to no transaction. They are written in the background, so a request does not wait.
/// Cheap to clone.
#[derive(Clone)]
pub struct SecurityLog {
    queue: mpsc::Sender<Entry>,
    recorded: Arc<Mutex<Recorded>>,
}

struct Entry {
    cause: Cause,
    fact: Outgoing<SecurityFact>,
}

/// The entries of the current deduplication period.
struct Recorded {
    since: Instant,
    entries: HashSet<String>,
}

/// Publishes the entries in batches.
pub struct SecurityLogWriter {
    queue: mpsc::Receiver<Entry>,
    ledger: Postgres,
    publisher: Publisher<Postgres>,
}

impl SecurityLog {
    pub fn new(ledger: Postgres, publisher: Publisher<Postgres>) -> (Self, SecurityLogWriter) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let recorded = Recorded {
            since: Instant::now(),
            entries: HashSet::new(),
        };
        let log = Self {
            queue: sender,
            recorded: Arc::new(Mutex::new(recorded)),
        };
        let writer = SecurityLogWriter {
            queue: receiver,
            ledger,
            publisher,
        };
        (log, writer)
    }

    /// Records that `actor`, or an anonymous client if it is `None`, was denied something concerning `user`.
    pub fn record(&self, user: Option<Uuid>, actor: Option<Actor>, denied: impl Into<SecurityFact>) {
        let denied = denied.into();
        if !self.is_new(&denied) {
            return;
        }
        let entry = Entry {
            cause: request_cause(actor.unwrap_or(GATEWAY)),
            fact: security_fact(user, denied),
        };
        if self.queue.try_send(entry).is_err() {
            tracing::warn!("an entry of the security log was dropped, because {QUEUE} entries wait to be written");
        }
    }

    fn is_new(&self, denied: &SecurityFact) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        if recorded.since.elapsed() >= DEDUPLICATION_PERIOD {
            recorded.since = Instant::now();
            recorded.entries.clear();
        }
        recorded.entries.len() < MAX_ENTRIES && recorded.entries.insert(format!("{denied:?}"))
    }
}

impl SecurityLogWriter {
    /// Runs until `stop`. Entries that are in the queue at that time are still written.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut entries = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut entries, BATCH) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            while let Err(error) = self.write(&entries).await {
                tracing::warn!(
                    error,
                    entries = entries.len(),
                    "cannot write {} entries of the security log; retrying: {error}",
                    entries.len()
                );
                tokio::select! {
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                    () = stop.cancelled() => return,
                }
            }
            entries.clear();
        }
    }

    async fn write(&self, entries: &[Entry]) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| chassis::error_chain(error);
        let unit = Unit::begin(&self.ledger, &self.publisher).await;
        let mut unit = unit.map_err(|error| text(&error))?;
        for entry in entries {
            unit.publish(&entry.cause, entry.fact.clone())
                .map_err(|error| text(&error))?;
        }
        unit.commit().await.map_err(|error| text(&error))
    }
}
