//! Requests that wait for the outcome of their operation.
//!
//! A request asks for its outcome after this process committed a message of its operation, and otherwise at growing
//! intervals, because another process may have committed it. One statement reads the outcomes for all requests that ask
//! while the previous statement runs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use messaging::Unit;
use postgres::Postgres;
use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::operations::{Operation, settled};

/// Shortest and longest interval at which a request asks for its outcome.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum time between two statements for requests whose interval has passed, so that they share statements.
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// Pause after a statement that failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The waiting requests of this process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a request asks after a commit of this process.
    committed: Notify,
    /// Notified when a request asks after its interval.
    due: Notify,
}

#[derive(Default)]
struct State {
    waiters: HashMap<Uuid, Registered>,
    /// The operations whose outcomes the next statement reads.
    asked: HashSet<Uuid>,
}

struct Registered {
    outcome: oneshot::Sender<Operation>,
    committed: Arc<Notify>,
}

/// A waiting request. Dropping it ends the wait.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    operation: Uuid,
    outcome: oneshot::Receiver<Operation>,
    /// Notified after this process committed a message of the operation.
    committed: Arc<Notify>,
}

/// Notifies requests of commits.
///
/// A notification only saves time, because a waiting request also asks at intervals.
#[derive(Clone)]
pub struct OperationNotifier(Arc<Shared>);

/// Reads outcomes for all waiting requests.
pub(super) struct Poller {
    shared: Arc<Shared>,
    pool: PgPool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, operation: Uuid, reason: &Notify) {
        self.state().asked.insert(operation);
        reason.notify_one();
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
        let committed = Arc::new(Notify::new());
        let registered = Registered {
            outcome: sender,
            committed: Arc::clone(&committed),
        };
        self.0.state().waiters.insert(operation, registered);
        Waiter {
            shared: Arc::clone(&self.0),
            operation,
            outcome,
            committed,
        }
    }

    pub(super) fn notifier(&self) -> OperationNotifier {
        OperationNotifier(Arc::clone(&self.0))
    }
}

impl Waiter {
    /// Waits until the operation is settled and its effects are visible in the read models, and returns it.
    ///
    /// Returns `None` if another request waits for this operation instead.
    pub(super) async fn outcome(mut self) -> Option<Operation> {
        let started = Instant::now();
        loop {
            let reason = tokio::select! {
                outcome = &mut self.outcome => return outcome.ok(),
                () = self.committed.notified() => &self.shared.committed,
                () = tokio::time::sleep(interval(started.elapsed())) => &self.shared.due,
            };
            self.shared.ask(self.operation, reason);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.state().waiters.remove(&self.operation);
    }
}

/// Returns the interval until the request asks again: half of the time that it has waited. A wait for another process thus
/// takes at most half as long again as necessary.
fn interval(waited: Duration) -> Duration {
    (waited / 2).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

impl OperationNotifier {
    /// Notifies the requests that wait for these operations, after `unit` commits.
    pub fn notify_after_commit(&self, unit: &mut Unit<Postgres>, operations: impl Iterator<Item = Uuid>) {
        let state = self.0.state();
        if state.waiters.is_empty() {
            return;
        }
        for operation in operations {
            if let Some(waiter) = state.waiters.get(&operation) {
                unit.notify_after_commit(&waiter.committed);
            }
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
        let mut earliest = Instant::now();
        loop {
            self.asked(earliest).await;
            earliest = Instant::now() + MIN_PAUSE;
            let operations = self.take();
            if operations.is_empty() {
                continue;
            }
            match settled(&self.pool, &operations).await {
                Ok(operations) => self.complete(operations),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        waiting = operations.len(),
                        "cannot read the outcomes of {} operations; retrying: {error}",
                        operations.len()
                    );
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Waits until a request asks: after a commit immediately, and otherwise not before `earliest`.
    async fn asked(&self, earliest: Instant) {
        let Shared { committed, due, .. } = &*self.shared;
        tokio::select! {
            () = committed.notified() => return,
            () = due.notified() => {}
        }
        tokio::select! {
            () = committed.notified() => {}
            () = tokio::time::sleep_until(earliest) => {}
        }
    }

    /// Returns the operations that requests ask for and still wait for.
    fn take(&self) -> Vec<Uuid> {
        let mut state = self.shared.state();
        let asked = std::mem::take(&mut state.asked);
        asked
            .into_iter()
            .filter(|operation| state.waiters.contains_key(operation))
            .collect()
    }

    fn complete(&self, operations: Vec<Operation>) {
        let mut state = self.shared.state();
        for operation in operations {
            if let Some(waiter) = state.waiters.remove(&operation.id) {
                // Sending fails if the request has ended in the meantime.
                let _ = waiter.outcome.send(operation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_less_and_less_often_but_never_late() {
        let mut asked = vec![Duration::ZERO];
        while let Some(last) = asked.last().filter(|last| **last < Duration::from_secs(10)) {
            asked.push(*last + interval(*last));
        }
        assert!((40..60).contains(&asked.len()), "{asked:?}");
        for pair in asked.windows(2) {
            let late = pair[1] - pair[0];
            assert!(late <= (pair[0] / 2).max(MIN_INTERVAL), "{pair:?}");
        }
    }
}
