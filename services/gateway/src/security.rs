//! What is noted of sign-ins and rights, on `gateway.security`.

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

/// Notes that wait to be written; more are dropped, and counted in the log.
const QUEUE: usize = 1_024;
/// Notes in one transaction.
const BATCH: usize = 256;
/// The same is noted once in that time, so that whoever tries a thousand times a second fills no topic.
const ONCE_IN: Duration = Duration::from_secs(60);
/// Different notes in that time, at most.
const DIFFERENT: usize = 4_096;
/// While the store does not answer.
const AGAIN_IN: Duration = Duration::from_secs(1);

/// What is said of a user; what is nobody's is kept under the nil id.
pub fn security_fact(user: Option<Uuid>, fact: impl Into<SecurityFact>) -> Outgoing<SecurityFact> {
    Outgoing::new(user.unwrap_or_default(), fact)
}

/// The cause of what a request says beside its operation.
pub fn request_cause(actor: Actor) -> Cause {
    Cause::origin(Uuid::now_v7(), Some(actor), tracing::Span::current().context())
}

/// Notes what goes with no transaction: who was denied something. Takes no time of the request. Cheap to clone.
#[derive(Clone)]
pub struct SecurityLog {
    queue: mpsc::Sender<Note>,
    seen: Arc<Mutex<Seen>>,
}

struct Note {
    cause: Cause,
    fact: Outgoing<SecurityFact>,
}

/// What was noted in this minute.
struct Seen {
    since: Instant,
    notes: HashSet<String>,
}

/// Writes notes, many in one transaction.
pub struct SecurityLogWriter {
    queue: mpsc::Receiver<Note>,
    ledger: Postgres,
    publisher: Publisher<Postgres>,
}

impl SecurityLog {
    pub fn new(ledger: Postgres, publisher: Publisher<Postgres>) -> (Self, SecurityLogWriter) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let seen = Seen {
            since: Instant::now(),
            notes: HashSet::new(),
        };
        let notes = Self {
            queue: sender,
            seen: Arc::new(Mutex::new(seen)),
        };
        let taker = SecurityLogWriter {
            queue: receiver,
            ledger,
            publisher,
        };
        (notes, taker)
    }

    /// `user`: whom it is about; `actor`: who did it, if somebody was signed in.
    pub fn record(&self, user: Option<Uuid>, actor: Option<Actor>, denied: impl Into<SecurityFact>) {
        let denied = denied.into();
        if !self.is_new(&denied) {
            return;
        }
        let note = Note {
            cause: request_cause(actor.unwrap_or(GATEWAY)),
            fact: security_fact(user, denied),
        };
        if self.queue.try_send(note).is_err() {
            tracing::warn!("more was denied than can be noted");
        }
    }

    fn is_new(&self, denied: &SecurityFact) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.since.elapsed() >= ONCE_IN {
            seen.since = Instant::now();
            seen.notes.clear();
        }
        seen.notes.len() < DIFFERENT && seen.notes.insert(format!("{denied:?}"))
    }
}

impl SecurityLogWriter {
    /// Runs until `stop`. What was noted before is written.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut notes = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut notes, BATCH) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            while let Err(error) = self.write(&notes).await {
                tracing::warn!(error, "what was denied can't be noted; trying again");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN_IN) => {}
                    () = stop.cancelled() => return,
                }
            }
            notes.clear();
        }
    }

    async fn write(&self, notes: &[Note]) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| chassis::error_chain(error);
        let unit = Unit::begin(&self.ledger, &self.publisher).await;
        let mut unit = unit.map_err(|error| text(&error))?;
        for note in notes {
            unit.publish(&note.cause, note.fact.clone())
                .map_err(|error| text(&error))?;
        }
        unit.commit().await.map_err(|error| text(&error))
    }
}
