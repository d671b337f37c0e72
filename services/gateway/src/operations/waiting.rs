//! Who waits for an outcome, and how they are woken: one query for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::operations::{Operation, settled};

/// Between two looks at the store while somebody waits.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After a reply or a domain event of somebody who waits passed through this process: its transaction is about to
/// commit.
const LOOK_SOON: Duration = Duration::from_millis(2);
/// While the store does not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The requests of this process that wait. Cheap to clone.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiters: Mutex<HashMap<Uuid, oneshot::Sender<Operation>>>,
    /// Somebody began to wait.
    arrived: Notify,
    /// Something that somebody waits for is about to be there.
    coming: Notify,
}

/// One request that waits. Dropping it ends the wait.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    operation: Uuid,
    outcome: oneshot::Receiver<Operation>,
}

/// Tells those who wait that it is worth looking. A hint: they would look anyway, a little later.
#[derive(Clone)]
pub struct Wakes(Arc<Shared>);

/// Looks at the store for all who wait.
pub(super) struct Poller {
    shared: Arc<Shared>,
    pool: PgPool,
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Operation>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    pub(super) fn new(pool: PgPool) -> (Self, Poller) {
        let shared = Arc::new(Shared::default());
        let poller = Poller {
            shared: Arc::clone(&shared),
            pool,
        };
        (Self(shared), poller)
    }

    pub(super) fn enter(&self, operation: Uuid) -> Waiter {
        let (sender, outcome) = oneshot::channel();
        self.0.waiters().insert(operation, sender);
        self.0.arrived.notify_one();
        Waiter {
            shared: Arc::clone(&self.0),
            operation,
            outcome,
        }
    }

    pub(super) fn wakes(&self) -> Wakes {
        Wakes(Arc::clone(&self.0))
    }
}

impl Waiter {
    /// The operation, once it is settled and its effects can be read. `None`: nobody looks any more.
    pub(super) async fn outcome(mut self) -> Option<Operation> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiters().remove(&self.operation);
    }
}

impl Wakes {
    /// Messages of these operations were handled, and their transaction is about to commit.
    pub fn passed(&self, operations: impl Iterator<Item = Uuid>) {
        let waiters = self.0.waiters();
        let mut operations = operations;
        if !waiters.is_empty() && operations.any(|operation| waiters.contains_key(&operation)) {
            self.0.coming.notify_one();
        }
    }
}

impl Poller {
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_out() => {}
        }
    }

    async fn look_out(&self) {
        let mut pause = LOOK_EVERY;
        loop {
            let waiting: Vec<Uuid> = self.shared.waiters().keys().copied().collect();
            if waiting.is_empty() {
                self.shared.arrived.notified().await;
                // Nothing is there before its reply was: the first look comes with that, or with the tick.
                pause = self.pause(LOOK_EVERY).await;
                continue;
            }
            match settled(&self.pool, &waiting).await {
                Ok(operations) => self.wake(operations),
                Err(error) => {
                    tracing::warn!(%error, waiting = waiting.len(), "outcomes can't be looked up; trying again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
            pause = self.pause(pause).await;
        }
    }

    /// Waits until the next look, and answers how long to wait for the one after it.
    async fn pause(&self, pause: Duration) -> Duration {
        tokio::select! {
            () = tokio::time::sleep(pause) => (pause * 2).min(LOOK_EVERY),
            () = self.shared.coming.notified() => {
                tokio::time::sleep(LOOK_SOON).await;
                LOOK_SOON
            }
        }
    }

    fn wake(&self, operations: Vec<Operation>) {
        let mut waiters = self.shared.waiters();
        for operation in operations {
            if let Some(waiter) = waiters.remove(&operation.id) {
                // Gone away meanwhile.
                let _ = waiter.send(operation);
            }
        }
    }
}
