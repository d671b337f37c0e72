//! The relay: publishes this process's own outbox rows, and those that a dead process left.
//!
//! Workers hand rows over in memory after their commit, so nothing is polled or read back. A row is deleted
//! when the broker has acknowledged it. Duplicates are possible and harmless; a lost row is not possible.

mod producer;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use chassis::error_chain;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::producer::{Delivery, Outcome, Producer};
use crate::kafka::Settings;
use crate::kafka::client::Watched;
use crate::ledger::{Outbox, OutboxRow, StoreError};
use crate::metrics::Metrics;
use crate::publishing::publisher::{Publisher, RelayInput};
use crate::wire::envelope::header;
use crate::wire::record::TopicPartition;
use crate::wire::trace;

/// Messages on their way to the broker, at most; above it rows stay in the store until there is room.
const IN_FLIGHT: usize = 20_000;
const SWEEP_ROWS: i64 = 5_000;
const ADOPTION_SCAN: Duration = Duration::from_millis(500);
const SLOW_SWEEP: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Rows younger than this are most likely on their way from a worker.
const SETTLING: Duration = Duration::from_secs(2);
/// Below the share of the shutdown timeout that outputs have at least.
const DRAIN_LIMIT: Duration = Duration::from_secs(6);
/// Counting a long outbox reads all of it.
const MEASURE_EVERY: Duration = Duration::from_secs(3);

/// Why the relay ended. The rows are still there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the Kafka producer can't be made")]
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
    keeper: Option<LeaseKeeper<L>>,
    deliveries: mpsc::UnboundedReceiver<Delivery<L::RowId>>,
    producer: Producer<L::RowId>,
    /// Rows that were published or are about to be, and are not deleted yet, with their owner: deleting is guarded by
    /// it, and it changes when this process adopts what it had published under a lease that ran out.
    in_flight: HashMap<L::RowId, Uuid>,
    acknowledged: Acknowledged<L::RowId>,
    /// The last deletion failed, so that the next one waits first.
    deletion_failed: bool,
    /// Rows may be in the store that nobody handed over.
    behind: Option<Behind>,
    /// Not before this time.
    next_sweep: Instant,
    /// Something was not delivered, so the producer may have failed for good.
    producer_in_doubt: bool,
}

/// What the next sweep looks for.
#[derive(Clone, Copy, PartialEq)]
enum Behind {
    /// Every own row that is not in flight.
    All,
    /// Only rows that had time to arrive from their worker.
    Settled,
}

/// Delivered rows that are not yet deleted.
struct Acknowledged<Id> {
    rows: Vec<(Id, Uuid)>,
    offsets: HashMap<TopicPartition, i64>,
}

impl<Id> Default for Acknowledged<Id> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            offsets: HashMap::new(),
        }
    }
}

/// A batch of rows, and the result of its deletion.
type Deleted<Id> = (Acknowledged<Id>, Result<(), StoreError>);

impl<L: Outbox> Relay<L> {
    pub(crate) fn new(ledger: L, settings: Settings, metrics: Metrics, handed: RelayInput<L>) -> Result<Self, Error> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (finder, found) = mpsc::channel(16);
        let producer = Producer::new(&settings, sender).map_err(Error::Producer)?;
        let keeper = LeaseKeeper {
            ledger: ledger.clone(),
            publisher: handed.publisher.clone(),
            metrics: metrics.clone(),
            lease: settings.lease,
            found: finder,
            leased: false,
        };
        Ok(Self {
            ledger,
            metrics,
            settings,
            publisher: handed.publisher,
            rows: handed.rows,
            found,
            keeper: Some(keeper),
            deliveries,
            producer,
            in_flight: HashMap::new(),
            acknowledged: Acknowledged::default(),
            deletion_failed: false,
            behind: None,
            next_sweep: Instant::now(),
            producer_in_doubt: false,
        })
    }

    /// The client that publishes, to be watched.
    pub(crate) fn client(&self) -> Arc<dyn Watched> {
        self.producer.working()
    }

    /// Publishes until `stop`; then what was handed over is published, and the lease ended.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let keeper = self.keeper.take().expect("a relay runs once");
        // Two loops in one task: the store's answers never hold up a message.
        let ((), published) = tokio::join!(keeper.run(stop.clone()), self.publish_until(&stop));
        published?;
        self.drain().await
    }

    async fn publish_until(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut slow_sweep = ticks(SLOW_SWEEP);
        let mut rows = Vec::new();
        let mut deliveries = Vec::new();
        // A separate task, because the loop does not poll it while it waits for a sweep: the deletion would keep the
        // connection that the sweep needs.
        let mut deletion: Option<AbortOnDropHandle<Deleted<L::RowId>>> = None;
        loop {
            let room = self.in_flight.len() < IN_FLIGHT;
            // While behind, the store has older rows of the same keys: they go first. Not those that just failed:
            // all others would have to wait for them.
            let hand_over = room && (self.behind.is_none() || Instant::now() < self.next_sweep);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = self.deliveries.recv_many(&mut deliveries, 4_096) => {
                    debug_assert!(count > 0, "the producer holds a sender");
                    self.settle(&mut deliveries);
                }
                deleted = async { deletion.as_mut().expect("checked").await }, if deletion.is_some() => {
                    deletion = None;
                    self.deleted(deleted.expect("a deletion does not panic"));
                }
                _ = self.rows.recv_many(&mut rows, 64), if hand_over => {
                    self.publish_all(rows.drain(..).flatten());
                }
                Some(found) = self.found.recv(), if room => self.publish_all(found.into_iter()),
                () = self.publisher.sweep_requested() => self.behind = Some(Behind::All),
                () = self.producer.replacement_requested() => self.replace_producer()?,
                () = tokio::time::sleep_until(self.next_sweep), if room && self.behind.is_some() => self.sweep().await,
                _ = slow_sweep.tick() => self.behind = self.behind.or(Some(Behind::Settled)),
            }
            if deletion.is_none() && !self.acknowledged.rows.is_empty() {
                deletion = Some(AbortOnDropHandle::new(tokio::spawn(self.delete())));
            }
            if std::mem::take(&mut self.producer_in_doubt) && self.producer.is_fatal() {
                tracing::error!("the Kafka producer failed fatally; it is replaced");
                self.replace_producer()?;
            }
            if !room {
                // What workers hand over now is left to the sweep, so that memory stays bounded.
                while self.rows.try_recv().is_ok() {
                    self.behind = Some(Behind::All);
                }
            }
        }
        if let Some(deletion) = deletion {
            self.deleted(deletion.await.expect("a deletion does not panic"));
        }
        Ok(())
    }

    /// Publishes what is at hand, waits for its acknowledgements, ends the lease. What remains is adopted.
    async fn drain(mut self) -> Result<(), Error> {
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
                self.settle(&mut deliveries);
            }
            let deleted = self.delete().await;
            let failed = deleted.1.is_err();
            self.deleted(deleted);
            if failed && Instant::now() > deadline {
                break;
            }
        }
        if let Err(error) = self.ledger.end_lease(self.publisher.owner()).await {
            tell("the lease was not ended; it runs out by itself", &error);
        }
        tracing::info!(left = self.in_flight.len(), "the relay is drained");
        Ok(())
    }

    fn publish_all(&mut self, rows: impl Iterator<Item = OutboxRow<L::RowId>>) {
        let mut sent: HashMap<String, Vec<_>> = HashMap::new();
        for row in rows {
            match self.in_flight.entry(row.id) {
                Entry::Occupied(mut owner) => {
                    owner.insert(row.owner);
                    continue;
                }
                Entry::Vacant(place) => place.insert(row.owner),
            };
            if row.message.headers.get(header::TRACE_PARENT).is_some() {
                sent.entry(row.message.topic.clone()).or_default().push((
                    row.message.headers.get(header::TRACE_PARENT).map(str::to_owned),
                    row.message.headers.get(header::TRACE_STATE).map(str::to_owned),
                ));
            }
            if let Err(error) = self.producer.send(&row) {
                tracing::warn!(%error, "a message was not taken by the Kafka client; its row stays");
                self.not_delivered(&row.id);
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

    /// The row stays, and is published again after a pause: not hotly, whatever is wrong with it.
    fn not_delivered(&mut self, row: &L::RowId) {
        self.in_flight.remove(row);
        self.behind = Some(Behind::All);
        self.producer_in_doubt = true;
        let now = Instant::now();
        // A pause that has begun is not prolonged: others may fail all the time.
        if self.next_sweep <= now {
            self.next_sweep = now + RETRY_PAUSE;
        }
    }

    /// Takes note of what became of deliveries.
    fn settle(&mut self, deliveries: &mut Vec<Delivery<L::RowId>>) {
        for delivery in deliveries.drain(..) {
            let topic = delivery.partition.topic.as_str();
            match delivery.outcome {
                Outcome::Delivered(offset) => {
                    self.metrics
                        .relay_published
                        .with_label_values(&[topic, "delivered"])
                        .inc();
                    // Stays in flight until it is deleted: a sweep must not publish it again.
                    self.acknowledged.rows.push((delivery.id, delivery.owner));
                    let newest = self.acknowledged.offsets.entry(delivery.partition).or_insert(offset);
                    *newest = offset.max(*newest);
                }
                Outcome::Failed(error) => {
                    self.metrics.relay_published.with_label_values(&[topic, "failed"]).inc();
                    tracing::warn!(topic, %error, "a delivery failed; its row stays and is published again");
                    self.not_delivered(&delivery.id);
                }
            }
        }
    }

    /// Replaces a producer that never works again: after a fatal error, or when it reaches no broker any more. The new
    /// one publishes what was in flight.
    fn replace_producer(&mut self) -> Result<(), Error> {
        self.producer = self.producer.renewed(&self.settings).map_err(Error::Producer)?;
        // Also forgets rows that are just being deleted; publishing those again is a duplicate, no loss.
        self.in_flight.clear();
        self.behind = Some(Behind::All);
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
            // A store that refuses at once must not keep the relay busy with it.
            if has_failed {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let offsets: Vec<_> = batch
                .offsets
                .iter()
                .map(|(partition, offset)| (partition.clone(), *offset))
                .collect();
            let result = ledger.acknowledge(&batch.rows, &offsets).await;
            (batch, result)
        }
    }

    fn deleted(&mut self, (batch, result): Deleted<L::RowId>) {
        match result {
            Ok(()) => {
                for (id, _) in batch.rows {
                    self.in_flight.remove(&id);
                }
            }
            Err(error) => {
                // Kept for the next deletion; at worst somebody adopts and publishes them again.
                tell("published rows were not deleted", &error);
                self.deletion_failed = true;
                self.acknowledged.rows.extend(batch.rows);
                for (partition, offset) in batch.offsets {
                    let newest = self.acknowledged.offsets.entry(partition).or_insert(offset);
                    *newest = offset.max(*newest);
                }
            }
        }
    }

    /// Publishes own rows from the store.
    async fn sweep(&mut self) {
        let min_age = match self.behind {
            None => return,
            Some(Behind::All) => Duration::ZERO,
            Some(Behind::Settled) => SETTLING,
        };
        // What is in flight is still in the store, so the limit must reach beyond it.
        let limit = SWEEP_ROWS + i64::try_from(self.in_flight.len()).unwrap_or(i64::MAX - SWEEP_ROWS);
        match self.ledger.sweep(self.publisher.owner(), min_age, limit).await {
            Ok(rows) => {
                let complete = (rows.len() as i64) < limit;
                let fresh = rows
                    .into_iter()
                    .filter(|row| !self.in_flight.contains_key(&row.id))
                    .collect::<Vec<_>>();
                if complete {
                    self.behind = None;
                }
                self.publish_all(fresh.into_iter());
            }
            Err(error) => {
                tell("the outbox was not swept", &error);
                self.next_sweep = Instant::now() + RETRY_PAUSE;
            }
        }
    }
}

/// Keeps the lease, and finds rows that have fallen due or belong to a dead process.
struct LeaseKeeper<L: Outbox> {
    ledger: L,
    publisher: Publisher<L>,
    metrics: Metrics,
    lease: Duration,
    found: mpsc::Sender<Vec<OutboxRow<L::RowId>>>,
    leased: bool,
}

impl<L: Outbox> LeaseKeeper<L> {
    async fn run(mut self, stop: CancellationToken) {
        // Rows may have been appended already, under the owner that there is.
        self.start_lease(self.publisher.owner()).await;
        let mut renewal = ticks(self.lease / 3);
        let mut adoption = ticks(ADOPTION_SCAN);
        let mut measurement = ticks(MEASURE_EVERY);
        let mut next_due = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = renewal.tick() => self.renew_lease().await,
                () = self.publisher.delayed_appended() => next_due = Instant::now(),
                () = tokio::time::sleep_until(next_due), if self.leased => next_due = self.take_due().await,
                _ = adoption.tick(), if self.leased => self.adopt().await,
                _ = measurement.tick() => self.measure().await,
            }
        }
    }

    /// Publishes what has fallen due; answers when to look again.
    async fn take_due(&mut self) -> Instant {
        match self.ledger.take_due(self.publisher.owner(), SWEEP_ROWS).await {
            Ok((rows, next)) => {
                self.pass_on(rows);
                // Rows of other processes fall due too, so the look is repeated.
                Instant::now()
                    + next
                        .unwrap_or(ADOPTION_SCAN)
                        .clamp(Duration::from_millis(1), ADOPTION_SCAN)
            }
            Err(error) => {
                tell("due messages were not taken", &error);
                Instant::now() + ADOPTION_SCAN
            }
        }
    }

    async fn adopt(&mut self) {
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
            Err(error) => tell("no rows were adopted", &error),
        }
    }

    /// They are own rows by now: what finds no room is found by a sweep.
    fn pass_on(&self, rows: Vec<OutboxRow<L::RowId>>) {
        if !rows.is_empty() && self.found.try_send(rows).is_err() {
            self.publisher.request_sweep();
        }
    }

    async fn start_lease(&mut self, owner: Uuid) {
        // Before the lease is there, rows of this owner may be adopted: a duplicate, no loss.
        self.publisher.set_owner(owner);
        match self.ledger.start_lease(owner, self.lease).await {
            Ok(()) => self.leased = true,
            Err(error) => {
                self.leased = false;
                tell("no lease was taken", &error);
            }
        }
    }

    /// A process whose lease ran out takes a new owner id and goes on: others may hold its rows now.
    async fn renew_lease(&mut self) {
        if !self.leased {
            return self.start_lease(Uuid::now_v7()).await;
        }
        match self.ledger.renew_lease(self.publisher.owner(), self.lease).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the relay's lease ran out; going on under a new one");
                self.start_lease(Uuid::now_v7()).await;
            }
            Err(error) => tell("the lease was not renewed", &error),
        }
    }

    async fn measure(&self) {
        match self.ledger.outbox_gauge().await {
            Ok(gauge) => {
                self.metrics.outbox_rows.set(gauge.rows);
                self.metrics.outbox_oldest_age.set(gauge.oldest_age.as_secs_f64());
            }
            Err(error) => tell("the outbox was not measured", &error),
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn tell(what: &'static str, error: &StoreError) {
    tracing::warn!(error = error_chain(error), "{what}; it is tried again");
}
