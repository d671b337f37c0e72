//! The lease of a relay.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ticks, warn_of_retry};
use crate::ledger::{Outbox, StoreError, StoreErrorKind};
use crate::publishing::publisher::Publisher;

/// Keeps the lease of this process alive.
///
/// It does nothing else, and it runs in a separate task, so that neither a slow statement nor a busy publishing loop
/// lets the lease expire.
pub(super) struct Lease<L: Outbox> {
    pub(super) ledger: L,
    pub(super) publisher: Publisher<L>,
    pub(super) length: Duration,
    /// `true` while the process has a lease.
    pub(super) leased: watch::Sender<bool>,
}

impl<L: Outbox> Lease<L> {
    /// Renews the lease until `end`, then ends it, so that other processes adopt the remaining rows at once.
    pub(super) async fn keep(self, end: CancellationToken) {
        // Rows may have been appended already, under the present owner.
        self.start(self.publisher.owner()).await;
        let mut renewal = ticks(self.renewal());
        while end.run_until_cancelled(renewal.tick()).await.is_some() {
            self.renew().await;
        }
        let ended = self.in_time(self.ledger.end_lease(self.publisher.owner())).await;
        if let Err(error) = ended {
            tracing::warn!(
                error = chassis::error_chain(&error),
                "the lease was not ended; it expires by itself"
            );
        }
    }

    /// Interval between two renewals, and the maximum time for one, so that another one still comes in time.
    fn renewal(&self) -> Duration {
        self.length / 3
    }

    async fn start(&self, owner: Uuid) {
        // Until the lease exists, other processes may adopt rows of this owner, which is a duplicate, not a loss.
        self.publisher.set_owner(owner);
        let started = self.in_time(self.ledger.start_lease(owner, self.length)).await;
        self.leased.send_replace(started.is_ok());
        if let Err(error) = started {
            warn_of_retry("no lease was started", &error);
        }
    }

    /// Renews the lease. A process whose lease expired continues under a new owner id, because other processes may have
    /// adopted its rows.
    async fn renew(&self) {
        if !*self.leased.borrow() {
            return self.start(Uuid::now_v7()).await;
        }
        let renewed = self.ledger.renew_lease(self.publisher.owner(), self.length);
        match self.in_time(renewed).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the lease of the relay expired; continuing under a new one");
                self.start(Uuid::now_v7()).await;
            }
            Err(error) => warn_of_retry("the lease was not renewed", &error),
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let result = tokio::time::timeout(self.renewal(), call).await;
        result.unwrap_or_else(|elapsed| Err(StoreError::new(StoreErrorKind::Unavailable, elapsed)))
    }
}
