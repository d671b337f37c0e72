//! Requests that wait for the outcome of their operation. One query serves all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::operations::{Operation, settled};

/// Interval between two queries while a request waits.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Delay of the query after this process handled a message for a waiting request, because the transaction of that message
/// is about to commit.
const NOTIFIED_DELAY: Duration = Duration::from_millis(2);
/// Pause after a failed query.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The waiting requests of this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiters: Mutex<HashMap<Uuid, oneshot::Sender<Operation>>>,
    /// Notified when a request begins to wait.
    registered: Notify,
    /// Notified when the outcome of a waiting request is about to be committed.
    expected: Notify,
}

/// A waiting request. Dropping it ends the wait.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    operation: Uuid,
    outcome: oneshot::Receiver<Operation>,
}

/// Notifies the poller that outcomes are about to be committed.
///
/// A notification is only a hint that saves time: the poller also queries the store at a fixed interval.
#[derive(Clone)]
pub struct OperationNotifier(Arc<Shared>);

/// Queries the store for all waiting requests.
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

    pub(super) fn register(&self, operation: Uuid) -> Waiter {
        let (sender, outcome) = oneshot::channel();
        self.0.waiters().insert(operation, sender);
        self.0.registered.notify_one();
        Waiter {
            shared: Arc::clone(&self.0),
            operation,
            outcome,
        }
    }

    pub(super) fn notifier(&self) -> OperationNotifier {
        OperationNotifier(Arc::clone(&self.0))
    }
}

impl Waiter {
    /// Waits until the operation is settled and its effects are visible in the read models, and returns it.
    ///
    /// Returns `None` if the poller has stopped.
    pub(super) async fn outcome(mut self) -> Option<Operation> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiters().remove(&self.operation);
    }
}

impl OperationNotifier {
    /// Reports that messages of these operations were handled and that their transaction is about to commit.
    pub fn notify(&self, operations: impl Iterator<Item = Uuid>) {
        let waiters = self.0.waiters();
        let mut operations = operations;
        if !waiters.is_empty() && operations.any(|operation| waiters.contains_key(&operation)) {
            self.0.expected.notify_one();
        }
    }
}

impl Poller {
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.poll() => {}
        }
    }

    async fn poll(&self) {
        let mut pause = POLL_INTERVAL;
        loop {
            let waiting: Vec<Uuid> = self.shared.waiters().keys().copied().collect();
            if waiting.is_empty() {
                self.shared.registered.notified().await;
                // A new operation has no outcome before its reply, so the first query follows a notification or the interval.
                pause = self.pause(POLL_INTERVAL).await;
                continue;
            }
            match settled(&self.pool, &waiting).await {
                Ok(operations) => self.complete(operations),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        waiting = waiting.len(),
                        "cannot read the outcomes of {} operations; retrying: {error}",
                        waiting.len()
                    );
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            pause = self.pause(pause).await;
        }
    }

    /// Waits until the next query is due. Returns the pause before the query after it.
    async fn pause(&self, pause: Duration) -> Duration {
        tokio::select! {
            () = tokio::time::sleep(pause) => (pause * 2).min(POLL_INTERVAL),
            () = self.shared.expected.notified() => {
                tokio::time::sleep(NOTIFIED_DELAY).await;
                NOTIFIED_DELAY
            }
        }
    }

    fn complete(&self, operations: Vec<Operation>) {
        let mut waiters = self.shared.waiters();
        for operation in operations {
            if let Some(waiter) = waiters.remove(&operation.id) {
                // Sending fails if the request has ended in the meantime.
                let _ = waiter.send(operation);
            }
        }
    }
}
