//! The relay: publishes the outbox rows of this process and those of dead processes.
//!
//! Workers hand rows over in memory after their commit, so nothing is polled or read back. A row is deleted after the
//! broker has acknowledged it. Rows can be published twice, which is harmless, but they cannot be lost.

mod acknowledged;
mod lease;
mod producer;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::acknowledged::Acknowledged;
use self::lease::Lease;
use self::producer::{Delivery, Outcome, Producer};
use crate::kafka::Settings;
use crate::kafka::client::Watched;
use crate::ledger::{Outbox, OutboxRow, StoreError};
use crate::metrics::Metrics;
use crate::publishing::publisher::{Publisher, RelayInput};
use crate::wire::envelope::header;
use crate::wire::trace;

/// Maximum number of messages in flight to the broker. Further rows stay in the store until there is room.
const IN_FLIGHT: usize = 20_000;
const SWEEP_ROWS: i64 = 5_000;
const ADOPTION_SCAN: Duration = Duration::from_millis(500);
const SLOW_SWEEP: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// A regular sweep skips rows younger than this, because a worker is most likely handing them over.
const HAND_OVER_TIME: Duration = Duration::from_secs(2);
/// Maximum duration of the drain. It is shorter than the minimum share of the shutdown timeout that outputs have.
const DRAIN_LIMIT: Duration = Duration::from_secs(6);
const MEASURE_EVERY: Duration = Duration::from_secs(3);

/// The reason why the relay ended. The rows stay in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Kafka producer cannot be created")]
    Producer(#[source] rdkafka::error::KafkaError),
}

/// Publishes the outbox of one process.
pub struct Relay<L: Outbox> {
    ledger: L,
    metrics: Metrics,
    settings: Settings,
    publisher: Publisher<L>,
    rows: mpsc::Receiver<Vec<OutboxRow<L::RowId>>>,
    found: mpsc::Receiver<Vec<OutboxRow<L::RowId>>>,
    lease: Option<Lease<L>>,
    finder: Option<Finder<L>>,
    deliveries: mpsc::UnboundedReceiver<Delivery<L::RowId>>,
    producer: Producer<L::RowId>,
    /// Rows that were queued for delivery and are not deleted yet, with their owner. Deletion is guarded by the owner, which
    /// changes when this process adopts rows that it had published under an expired lease.
    in_flight: HashMap<L::RowId, Uuid>,
    acknowledged: Acknowledged<L::RowId>,
    /// The last deletion failed, so the next one waits first.
    deletion_failed: bool,
    /// Set if the store may contain rows that were not handed over.
    pending_sweep: Option<SweepScope>,
    /// The next sweep does not begin before this time.
    next_sweep: Instant,
    /// A message was not delivered, so the producer may have failed fatally.
    producer_in_doubt: bool,
}

/// The rows that the next sweep publishes.
#[derive(Clone, Copy, PartialEq)]
enum SweepScope {
    /// All rows of this process that are not in flight.
    All,
    /// Only rows whose worker has had time to hand them over.
    Settled,
}

/// A batch of rows, and the result of its deletion.
type Deleted<Id> = (Acknowledged<Id>, Result<(), StoreError>);

impl<L: Outbox> Relay<L> {
    pub(crate) fn new(ledger: L, settings: Settings, metrics: Metrics, handed: RelayInput<L>) -> Result<Self, Error> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (finder, found) = mpsc::channel(16);
        let producer = Producer::new(&settings, sender).map_err(Error::Producer)?;
        let (leased, is_leased) = watch::channel(false);
        let lease = Lease {
            ledger: ledger.clone(),
            publisher: handed.publisher.clone(),
            length: settings.lease,
            leased,
        };
        let finder = Finder {
            ledger: ledger.clone(),
            publisher: handed.publisher.clone(),
            metrics: metrics.clone(),
            leased: is_leased,
            found: finder,
        };
        Ok(Self {
            ledger,
            metrics,
            settings,
            publisher: handed.publisher,
            rows: handed.rows,
            found,
            lease: Some(lease),
            finder: Some(finder),
            deliveries,
            producer,
            in_flight: HashMap::new(),
            acknowledged: Acknowledged::default(),
            deletion_failed: false,
            pending_sweep: None,
            next_sweep: Instant::now(),
            producer_in_doubt: false,
        })
    }

    /// Returns the publishing client, for the watchdog.
    pub(crate) fn client(&self) -> Arc<dyn Watched> {
        self.producer.working()
    }

    /// Publishes until `stop`, then publishes the rows that were handed over, and ends the lease. Another process adopts
    /// the remaining rows.
    ///
    /// # Errors
    /// Returns an error if a producer cannot be created.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        const ONCE: &str = "a relay runs once";
        let (lease, finder) = (self.lease.take().expect(ONCE), self.finder.take().expect(ONCE));
        let end = CancellationToken::new();
        // The lease is kept while the relay drains. Dropping the task without `end` leaves the lease to expire.
        let mut lease = AbortOnDropHandle::new(tokio::spawn(lease.keep(end.clone())));
        let find = async {
            finder.run(stop.clone()).await;
            Ok(())
        };
        // Two loops run in one task, so that waiting for the store never delays a message.
        tokio::try_join!(find, self.publish_until(&stop))?;
        self.drain().await;
        end.cancel();
        (&mut lease).await.expect("the task of the lease does not panic");
        Ok(())
    }

    async fn publish_until(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut slow_sweep = ticks(SLOW_SWEEP);
        let mut rows = Vec::new();
        let mut deliveries = Vec::new();
        // A separate task, because the loop would not poll the deletion while it waits for a sweep, and the deletion would
        // hold the connection that the sweep needs.
        let mut deletion: Option<AbortOnDropHandle<Deleted<L::RowId>>> = None;
        loop {
            let room = self.in_flight.len() < IN_FLIGHT;
            // While a sweep is pending, the store has older rows of the same keys, which go first. This does not apply to
            // rows that just failed, because all others would have to wait for them.
            let hand_over = room && (self.pending_sweep.is_none() || Instant::now() < self.next_sweep);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = self.deliveries.recv_many(&mut deliveries, 4_096) => {
                    debug_assert!(count > 0, "the producer holds a sender");
                    self.handle_deliveries(&mut deliveries);
                }
                deleted = async { deletion.as_mut().expect("checked").await }, if deletion.is_some() => {
                    deletion = None;
                    self.handle_deletion(deleted.expect("a deletion does not panic"));
                }
                _ = self.rows.recv_many(&mut rows, 64), if hand_over => {
                    self.publish_all(rows.drain(..).flatten());
                }
                Some(found) = self.found.recv(), if room => self.publish_all(found.into_iter()),
                () = self.publisher.sweep_requested() => self.pending_sweep = Some(SweepScope::All),
                () = self.producer.replacement_requested() => self.replace_producer()?,
                () = tokio::time::sleep_until(self.next_sweep), if room && self.pending_sweep.is_some() => self.sweep().await,
                () = tokio::time::sleep_until(self.acknowledged.due()),
                    if deletion.is_none() && !self.acknowledged.rows.is_empty() => {}
                _ = slow_sweep.tick() => self.pending_sweep = self.pending_sweep.or(Some(SweepScope::Settled)),
            }
            if deletion.is_none() && self.acknowledged.is_due() {
                deletion = Some(AbortOnDropHandle::new(tokio::spawn(self.delete())));
            }
            if std::mem::take(&mut self.producer_in_doubt) && self.producer.is_fatal() {
                tracing::error!("the Kafka producer failed fatally; replacing it");
                self.replace_producer()?;
            }
            if !room {
                // Rows that are handed over now are left to the sweep, so memory stays bounded.
                while self.rows.try_recv().is_ok() {
                    self.pending_sweep = Some(SweepScope::All);
                }
            }
        }
        if let Some(deletion) = deletion {
            self.handle_deletion(deletion.await.expect("a deletion does not panic"));
        }
        Ok(())
    }

    /// Publishes the rows that were handed over, and deletes them as soon as they are acknowledged.
    async fn drain(mut self) {
        while let Ok(rows) = self.rows.try_recv() {
            self.publish_all(rows.into_iter());
        }
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut deliveries = Vec::new();
        while !self.in_flight.is_empty() {
            if self.acknowledged.rows.is_empty() {
                let received = self.deliveries.recv_many(&mut deliveries, 4_096);
                if tokio::time::timeout_at(deadline, received).await.is_err() {
                    break;
                }
                self.handle_deliveries(&mut deliveries);
            }
            let deleted = self.delete().await;
            let failed = deleted.1.is_err();
            self.handle_deletion(deleted);
            if failed && Instant::now() > deadline {
                break;
            }
        }
        tracing::info!(left = self.in_flight.len(), "the relay is drained");
    }

    fn publish_all(&mut self, rows: impl Iterator<Item = OutboxRow<L::RowId>>) {
        let mut sent: HashMap<String, Vec<_>> = HashMap::new();
        for row in rows {
            match self.in_flight.entry(row.id) {
                Entry::Occupied(mut owner) => {
                    owner.insert(row.owner);
                    continue;
                }
                Entry::Vacant(entry) => entry.insert(row.owner),
            };
            if row.message.headers.get(header::TRACE_PARENT).is_some() {
                sent.entry(row.message.topic.clone()).or_default().push((
                    row.message.headers.get(header::TRACE_PARENT).map(str::to_owned),
                    row.message.headers.get(header::TRACE_STATE).map(str::to_owned),
                ));
            }
            if let Err(error) = self.producer.send(&row) {
                tracing::warn!(%error, "the Kafka client did not accept a message; its row stays in the outbox");
                self.keep_row(&row.id);
            }
        }
        for (topic, contexts) in sent {
            let contexts = contexts
                .iter()
                .map(|(parent, state)| (parent.as_deref(), state.as_deref()));
            if let Some(span) = trace::linked("send", &topic, SpanKind::Client, contexts) {
                span.span().end();
            }
        }
    }

    /// Keeps a row that was not delivered. A sweep publishes it again after a pause.
    fn keep_row(&mut self, row: &L::RowId) {
        self.in_flight.remove(row);
        self.pending_sweep = Some(SweepScope::All);
        self.producer_in_doubt = true;
        let now = Instant::now();
        // A pause that has begun is not extended, because other rows may fail continuously.
        if self.next_sweep <= now {
            self.next_sweep = now + RETRY_PAUSE;
        }
    }

    /// Handles the reports of deliveries.
    fn handle_deliveries(&mut self, deliveries: &mut Vec<Delivery<L::RowId>>) {
        for delivery in deliveries.drain(..) {
            let topic = delivery.partition.topic.as_str();
            match delivery.outcome {
                Outcome::Delivered(offset) => {
                    self.metrics
                        .relay_published
                        .with_label_values(&[topic, "delivered"])
                        .inc();
                    // The row stays in flight until it is deleted, so that a sweep does not publish it again.
                    self.acknowledged
                        .push((delivery.id, delivery.owner), delivery.partition, offset);
                }
                Outcome::Failed(error) => {
                    self.metrics.relay_published.with_label_values(&[topic, "failed"]).inc();
                    tracing::warn!(topic, %error, "a delivery failed; the row stays in the outbox and will be published again");
                    self.keep_row(&delivery.id);
                }
            }
        }
    }

    /// Replaces a producer that will never work again, because it failed fatally or cannot reach any broker. The new
    /// producer publishes the rows that were in flight.
    fn replace_producer(&mut self) -> Result<(), Error> {
        self.producer = self.producer.renewed(&self.settings).map_err(Error::Producer)?;
        // This also clears rows whose deletion is in progress. Publishing those again causes duplicates, not losses.
        self.in_flight.clear();
        self.pending_sweep = Some(SweepScope::All);
        Ok(())
    }

    /// Deletes the acknowledged rows from the store.
    fn delete(&mut self) -> impl Future<Output = Deleted<L::RowId>> + Send + use<L> {
        let mut batch = std::mem::take(&mut self.acknowledged);
        for (id, owner) in &mut batch.rows {
            *owner = self.in_flight.get(id).copied().unwrap_or(*owner);
        }
        let ledger = self.ledger.clone();
        let has_failed = std::mem::take(&mut self.deletion_failed);
        async move {
            // A store that fails immediately must not keep the relay busy.
            if has_failed {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let result = ledger.acknowledge(&batch.rows, &batch.offsets()).await;
            (batch, result)
        }
    }

    fn handle_deletion(&mut self, (batch, result): Deleted<L::RowId>) {
        match result {
            Ok(()) => {
                for (id, _) in batch.rows {
                    self.in_flight.remove(&id);
                }
            }
            Err(error) => {
                // The rows are kept for the next deletion. At worst, another process adopts and publishes them again.
                warn_of_retry("cannot delete published rows", &error);
                self.deletion_failed = true;
                self.acknowledged.put_back(batch);
            }
        }
    }

    /// Publishes rows of this process from the store.
    async fn sweep(&mut self) {
        let min_age = match self.pending_sweep {
            None => return,
            Some(SweepScope::All) => Duration::ZERO,
            Some(SweepScope::Settled) => HAND_OVER_TIME,
        };
        // Rows in flight are still in the store, so the limit must exceed their number.
        let limit = SWEEP_ROWS + i64::try_from(self.in_flight.len()).unwrap_or(i64::MAX - SWEEP_ROWS);
        match self.ledger.sweep(self.publisher.owner(), min_age, limit).await {
            Ok(rows) => {
                let complete = (rows.len() as i64) < limit;
                let fresh = rows
                    .into_iter()
                    .filter(|row| !self.in_flight.contains_key(&row.id))
                    .collect::<Vec<_>>();
                if complete {
                    self.pending_sweep = None;
                }
                self.publish_all(fresh.into_iter());
            }
            Err(error) => {
                warn_of_retry("cannot sweep the outbox", &error);
                self.next_sweep = Instant::now() + RETRY_PAUSE;
            }
        }
    }
}

/// Finds rows that have fallen due or belong to a dead process, and measures the outbox.
struct Finder<L: Outbox> {
    ledger: L,
    publisher: Publisher<L>,
    metrics: Metrics,
    /// `true` while the process has a lease. Without one, other processes would adopt every row that it finds.
    leased: watch::Receiver<bool>,
    found: mpsc::Sender<Vec<OutboxRow<L::RowId>>>,
}

impl<L: Outbox> Finder<L> {
    async fn run(self, stop: CancellationToken) {
        let mut leased = self.leased.clone();
        let mut adoption = ticks(ADOPTION_SCAN);
        let mut measurement = ticks(MEASURE_EVERY);
        let mut next_due = Instant::now();
        loop {
            let is_leased = *leased.borrow_and_update();
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = leased.changed() => {}
                () = self.publisher.delayed_appended() => next_due = Instant::now(),
                () = tokio::time::sleep_until(next_due), if is_leased => next_due = self.take_due().await,
                _ = adoption.tick(), if is_leased => self.adopt().await,
                _ = measurement.tick() => self.measure().await,
            }
        }
    }

    /// Takes rows that have fallen due. Returns the time of the next check.
    async fn take_due(&self) -> Instant {
        match self.ledger.take_due(self.publisher.owner(), SWEEP_ROWS).await {
            Ok((rows, next)) => {
                self.pass_on(rows);
                // Rows that other processes appended fall due too, so the check is repeated regularly.
                Instant::now()
                    + next
                        .unwrap_or(ADOPTION_SCAN)
                        .clamp(Duration::from_millis(1), ADOPTION_SCAN)
            }
            Err(error) => {
                warn_of_retry("cannot take due messages", &error);
                Instant::now() + ADOPTION_SCAN
            }
        }
    }

    async fn adopt(&self) {
        match self.ledger.adopt(self.publisher.owner(), SWEEP_ROWS).await {
            Ok(rows) => {
                if !rows.is_empty() {
                    tracing::warn!(
                        rows = rows.len(),
                        "adopting the outbox rows of a process without a lease"
                    );
                }
                self.pass_on(rows);
            }
            Err(error) => warn_of_retry("cannot adopt rows", &error),
        }
    }

    /// Passes rows to the publishing loop. They belong to this process already, so a sweep finds those that do not fit.
    fn pass_on(&self, rows: Vec<OutboxRow<L::RowId>>) {
        if !rows.is_empty() && self.found.try_send(rows).is_err() {
            self.publisher.request_sweep();
        }
    }

    async fn measure(&self) {
        match self.ledger.outbox_gauge().await {
            Ok(gauge) => {
                self.metrics.outbox_rows.set(gauge.rows);
                self.metrics.outbox_oldest_age.set(gauge.oldest_age.as_secs_f64());
            }
            Err(error) => warn_of_retry("cannot measure the outbox", &error),
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Logs the error of a store operation that will be repeated.
fn warn_of_retry(what: &'static str, error: &StoreError) {
    tracing::warn!(error = error_chain(error), "{what}; retrying");
}
