//! How the gateway answers a write: it is made durable together with its command, another service decides, and the
//! request waits a little for what becomes of it.
//!
//! Nothing in memory is needed for the outcome. Who waits is woken by the reply in this process, or else finds it by
//! a look at the store; who does not wait, or whose process dies, finds it under `/v1/operations/{id}`.

mod intent;
mod waiting;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use contracts::{Actor, Message, topics};
use messaging::{Cause, Outgoing, Publisher};
use postgres::Postgres;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use crate::config;
use crate::error::Error;
use crate::store::operations::{self as store, Idempotency, New, Operation, Status};
use crate::store::{links, sessions};

pub use intent::Intent;
pub use waiting::Wakes;
use waiting::{Poller, Waiting};
use writer::{Writer, Written};

/// How often old operations, sessions and links are looked for.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(10 * 60);

/// On whose behalf the gateway says what nobody signed in for.
pub const GATEWAY: Actor = Actor::service("gateway");

/// Begins operations and waits for their outcomes. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    publisher: Publisher<Postgres>,
    writer: writer::Handle,
    waiting: Waiting,
    /// From then on nobody waits: the process drains.
    drain: CancellationToken,
}

/// What operations need to have running.
pub struct Tasks {
    writer: Writer,
    poller: Poller,
    pool: PgPool,
    retention: config::Retention,
}

impl Operations {
    pub fn new(
        pool: PgPool,
        publisher: Publisher<Postgres>,
        retention: config::Retention,
        drain: CancellationToken,
    ) -> (Self, Tasks) {
        let (waiting, poller) = Waiting::new(pool.clone());
        let (handle, writer) = Writer::new(pool.clone(), publisher.clone());
        let tasks = Tasks {
            writer,
            poller,
            pool: pool.clone(),
            retention,
        };
        let inner = Inner {
            pool,
            publisher,
            writer: handle,
            waiting,
            drain,
        };
        (Self { inner: Arc::new(inner) }, tasks)
    }

    /// For the handlers of replies and domain events.
    pub fn wakes(&self) -> Wakes {
        self.inner.waiting.wakes()
    }

    pub fn publisher(&self) -> &Publisher<Postgres> {
        &self.inner.publisher
    }

    /// Makes the intent durable, and waits for what becomes of it. What is answered may still be pending.
    pub async fn perform<M: Message>(&self, intent: Intent<M>) -> Result<Operation, Error> {
        let begun = Instant::now();
        let id = intent.id;
        let principal = intent.actor.user();
        let cause = Cause::origin(id, Some(intent.actor), tracing::Span::current().context());
        let command = Outgoing::<M>::new(intent.key, intent.command)
            .id(id)
            .expected_version(intent.expected_version)
            .reply_to(self.inner.publisher.topic_name(&topics::GATEWAY_REPLIES));
        let message = self.inner.publisher.frame(&cause, command)?;
        let new = New {
            id,
            kind: intent.kind,
            principal,
            resource_id: intent.resource_id,
            idempotency: intent.idempotency,
            held: intent.wait,
            password_hash: intent.password_hash,
        };
        let pending = pending(&new);
        // Before it is written: the reply may be faster than this request.
        let waiter = (!intent.wait.is_zero()).then(|| self.inner.waiting.enter(id));
        let hold = self.hold(&new);
        match self.inner.writer.write(new, message).await? {
            Written::New => {}
            Written::Repeated(idempotency) => {
                hold.release();
                return self.repeated(&idempotency).await;
            }
        }
        let Some(waiter) = waiter else {
            hold.release();
            return Ok(pending);
        };
        let settled = tokio::select! {
            settled = tokio::time::timeout_at(begun + intent.wait, waiter.outcome()) => settled.ok().flatten(),
            () = self.inner.drain.cancelled() => None,
        };
        let operation = match settled {
            Some(operation) => operation,
            // Once more: what waits for a tick of the poller may be there by now.
            None => self.look_again(id).await.unwrap_or(pending),
        };
        // One that is still pending is let go in the store too: the same request again is answered, not refused.
        if operation.status != Status::Pending {
            hold.release();
        }
        Ok(operation)
    }

    async fn look_again(&self, id: Uuid) -> Option<Operation> {
        match store::find(&self.inner.pool, id).await {
            Ok(found) => found,
            Err(error) => {
                // It is durable: that it can't be seen is no reason to say that it failed.
                tracing::warn!(%error, operation = %id, "the outcome can't be looked up; answering that it is pending");
                None
            }
        }
    }

    /// What a request that repeats an Idempotency-Key is answered, where the first one is known already.
    pub async fn find_repeated(&self, idempotency: &Idempotency) -> Result<Option<Operation>, Error> {
        store::find_repeated(&self.inner.pool, idempotency)
            .await?
            .map(|operation| repetition(operation, idempotency))
            .transpose()
    }

    async fn repeated(&self, idempotency: &Idempotency) -> Result<Operation, Error> {
        let found = self.find_repeated(idempotency).await?;
        // Forgotten between the two statements: its 24 hours were over.
        found.ok_or(Error::Busy)
    }

    fn hold(&self, new: &New) -> Hold {
        Hold {
            held: new.idempotency.is_some().then(|| (self.inner.pool.clone(), new.id)),
        }
    }
}

/// The present outcome, for a request that asks the same again.
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

fn pending(new: &New) -> Operation {
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

/// A request with an Idempotency-Key that is being answered. Where its client goes away, it is dropped, and then a
/// repetition must not be told that the first one is still there.
struct Hold {
    held: Option<(PgPool, Uuid)>,
}

impl Hold {
    fn release(mut self) {
        self.held = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((pool, id)) = self.held.take() {
            tokio::spawn(async move {
                if let Err(error) = store::let_go(&pool, id).await {
                    tracing::debug!(%error, operation = %id, "it is taken for held until its wait is over");
                }
            });
        }
    }
}

impl Tasks {
    /// Runs until `stop`. What was handed in before is written.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            self.writer.run(stop.clone()),
            self.poller.run(stop.clone()),
            clean_up(self.pool, self.retention, stop),
        );
    }
}

async fn clean_up(pool: PgPool, retention: config::Retention, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(CLEAN_UP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let cleaned = async {
            store::clean_up(&pool, retention.idempotency_keys, retention.operations).await?;
            sessions::clean_up(&pool).await?;
            links::clean_up(&pool).await
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(%error, "what is old was not cleaned up; it is tried again in ten minutes");
        }
    }
}
