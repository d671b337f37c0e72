//! Operations: the gateway stores each write together with its command, another service decides the command, and the
//! request waits for a short time for the outcome.
//!
//! The outcome never depends on memory. A waiting request is notified after this process committed the reply; otherwise it
//! finds the outcome by reading the store at growing intervals. A client that does not wait, or whose gateway process dies,
//! reads the outcome at `/v1/operations/{id}`.

mod intent;
mod waiting;
mod writer;

use std::sync::Arc;

use contracts::{Actor, Message, topics};
use messaging::{Cause, Outgoing, Publisher};
use postgres::Postgres;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use crate::error::Error;
use crate::store::operations::{self as store, Idempotency, NewOperation, Operation, Status};

pub use intent::Intent;
pub use waiting::OperationNotifier;
use waiting::{Poller, Waiting};
use writer::{Writer, Written};

/// The actor of messages that the gateway publishes without a signed-in user.
pub const GATEWAY: Actor = Actor::service("gateway");

/// Starts operations and waits for their outcomes. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    publisher: Publisher<Postgres>,
    writer: writer::Handle,
    waiting: Waiting,
    /// Cancelled when the process drains. Requests then stop waiting for their outcomes.
    drain: CancellationToken,
}

/// The background tasks that operations need.
pub struct Tasks {
    writer: Writer,
    poller: Poller,
}

impl Operations {
    pub fn new(pool: PgPool, publisher: Publisher<Postgres>, drain: CancellationToken) -> (Self, Tasks) {
        let (waiting, poller) = Waiting::new(pool.clone());
        let (handle, writer) = Writer::new(pool.clone(), publisher.clone());
        let tasks = Tasks { writer, poller };
        let inner = Inner {
            pool,
            publisher,
            writer: handle,
            waiting,
            drain,
        };
        (Self { inner: Arc::new(inner) }, tasks)
    }

    /// Returns the notifier for the handlers of replies and domain events.
    pub fn notifier(&self) -> OperationNotifier {
        self.inner.waiting.notifier()
    }

    pub fn publisher(&self) -> &Publisher<Postgres> {
        &self.inner.publisher
    }

    /// Stores the intent together with its command and waits for the outcome.
    ///
    /// The returned operation is pending if the outcome did not arrive in time.
    ///
    /// # Errors
    /// Returns [`Error::KeyReused`] if the Idempotency-Key belongs to a different request, [`Error::StillHeld`] if the
    /// first request with this key still waits, [`Error::Busy`] if the queue of the writer is full, and [`Error::Store`]
    /// if the store failed.
    pub async fn perform<M: Message>(&self, intent: Intent<M>) -> Result<Operation, Error> {
        let started = Instant::now();
        let id = intent.id;
        let principal = intent.actor.user();
        let cause = Cause::origin(id, Some(intent.actor), tracing::Span::current().context());
        let command = Outgoing::<M>::new(intent.key, intent.command)
            .id(id)
            .expected_version(intent.expected_version)
            .reply_to(self.inner.publisher.topic_name(&topics::GATEWAY_REPLIES));
        let message = self.inner.publisher.frame(&cause, command)?;
        let new = NewOperation {
            id,
            kind: intent.kind,
            principal,
            resource_id: intent.resource_id,
            idempotency: intent.idempotency,
            held: intent.wait,
            password_hash: intent.password_hash,
        };
        let pending = pending(&new);
        // The waiter is registered before the operation is written, because the reply may arrive before the write returns.
        let waiter = (!intent.wait.is_zero()).then(|| self.inner.waiting.register(id));
        let hold = self.hold(&new);
        match self.inner.writer.write(new, message).await? {
            Written::New => {}
            Written::Repeated(idempotency) => {
                hold.disarm();
                return self.repeated(&idempotency).await;
            }
        }
        let Some(waiter) = waiter else {
            hold.disarm();
            return Ok(pending);
        };
        let settled = tokio::select! {
            settled = tokio::time::timeout_at(started + intent.wait, waiter.outcome()) => settled.ok().flatten(),
            () = self.inner.drain.cancelled() => None,
        };
        let operation = match settled {
            Some(operation) => operation,
            // The outcome may have arrived since the request last asked for it.
            None => self.read_again(id).await.unwrap_or(pending),
        };
        // The hold of a pending operation is dropped and thereby ended in the store, so a repeated request is not
        // refused.
        if operation.status != Status::Pending {
            hold.disarm();
        }
        Ok(operation)
    }

    async fn read_again(&self, id: Uuid) -> Option<Operation> {
        match store::find(&self.inner.pool, id).await {
            Ok(found) => found,
            Err(error) => {
                // The operation is durable. A failed read must not be reported as a failed operation.
                tracing::warn!(
                    %error,
                    operation = %id,
                    "cannot read the outcome of operation {id}; returning it as pending: {error}"
                );
                None
            }
        }
    }

    /// Returns the operation that an earlier request with this Idempotency-Key started, or `None` if there was none.
    ///
    /// # Errors
    /// See [`repetition`].
    pub async fn find_repeated(&self, idempotency: &Idempotency) -> Result<Option<Operation>, Error> {
        store::find_repeated(&self.inner.pool, idempotency)
            .await?
            .map(|operation| repetition(operation, idempotency))
            .transpose()
    }

    async fn repeated(&self, idempotency: &Idempotency) -> Result<Operation, Error> {
        let found = self.find_repeated(idempotency).await?;
        // The key expired between the two statements.
        found.ok_or(Error::Busy)
    }

    fn hold(&self, new: &NewOperation) -> Hold {
        Hold {
            held: new.idempotency.is_some().then(|| (self.inner.pool.clone(), new.id)),
        }
    }
}

/// Returns the current outcome of the operation, for a request that repeats its Idempotency-Key.
///
/// # Errors
/// Returns [`Error::KeyReused`] if the request differs from the first one, and [`Error::StillHeld`] while the first one
/// waits for its outcome.
pub fn repetition(operation: Operation, idempotency: &Idempotency) -> Result<Operation, Error> {
    if operation.fingerprint.as_deref() != Some(&idempotency.fingerprint) {
        return Err(Error::KeyReused {
            operation: operation.id,
        });
    }
    if operation.status == Status::Pending && operation.held {
        return Err(Error::StillHeld {
            operation: operation.id,
        });
    }
    Ok(operation)
}

fn pending(new: &NewOperation) -> Operation {
    Operation {
        id: new.id,
        kind: new.kind,
        principal: new.principal,
        resource_id: new.resource_id,
        status: Status::Pending,
        held: false,
        fingerprint: None,
        result: None,
        rejection: None,
        created_at: chrono::Utc::now(),
        completed_at: None,
    }
}

/// A request with an Idempotency-Key that waits for its outcome.
///
/// If the client disconnects, the request is dropped. Dropping the hold then ends it in the store, so a repeated
/// request is not refused on behalf of a request that no longer exists.
struct Hold {
    held: Option<(PgPool, Uuid)>,
}

impl Hold {
    /// Drops this hold without a write to the store. There is nothing to end for an operation that
    /// is settled, was not written or has no waiting request.
    fn disarm(mut self) {
        self.held = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((pool, id)) = self.held.take() {
            tokio::spawn(async move {
                if let Err(error) = store::release_hold(&pool, id).await {
                    tracing::debug!(
                        %error,
                        operation = %id,
                        "cannot release the hold of operation {id}; it will end with the request's wait: {error}"
                    );
                }
            });
        }
    }
}

impl Tasks {
    /// Runs until `stop`. Operations that are in the queue at that time are still written.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.writer.run(stop.clone()), self.poller.run(stop));
    }
}
