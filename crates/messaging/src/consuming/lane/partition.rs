//! A partition as its lane knows it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contracts::Timestamp;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::FIRST_BACK_OFF;
use super::queue::Queue;
use crate::backoff::LONGEST;
use crate::consuming::arrival::{Arrival, MissingSchema, decode};
use crate::consuming::subscription::Subscription;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::wire::record::Record;

pub(super) struct Owned<L: Ledger> {
    pub(super) subscription: Subscription<L>,
    pub(super) assignment: u64,
    /// The stored position, as far as the lane knows.
    pub(super) position: Option<i64>,
    /// Records that are ready to be applied.
    pub(super) arrivals: VecDeque<Arrival>,
    /// Records behind them that are not decoded yet.
    undecoded: VecDeque<Record>,
    /// The schema that the first of them needs.
    schema: Option<SchemaFetch>,
    /// Size of all these records.
    pub(super) bytes: usize,
    /// The partition waits until then, because its first record failed.
    pub(super) retry_at: Option<Instant>,
    /// The last attempt at the first record failed, so the next one contains that record alone.
    pub(super) has_failed: bool,
    back_off: Duration,
}

/// A schema that is being fetched from the registry.
struct SchemaFetch {
    /// The record as it is without the schema.
    arrival: Arrival,
    /// Set at the end: `false` if the schema cannot be used, so that the record is handled without it.
    is_known: Arc<OnceLock<bool>>,
    _task: AbortOnDropHandle<()>,
}

impl<L: Ledger> Owned<L> {
    pub(super) fn new(subscription: Subscription<L>, assignment: u64, position: Option<i64>) -> Self {
        Self {
            subscription,
            assignment,
            position,
            arrivals: VecDeque::new(),
            undecoded: VecDeque::new(),
            schema: None,
            bytes: 0,
            retry_at: None,
            has_failed: false,
            back_off: FIRST_BACK_OFF,
        }
    }

    /// Returns the number of records that the lane has taken and not applied.
    pub(super) fn len(&self) -> usize {
        self.arrivals.len() + self.undecoded.len() + usize::from(self.schema.is_some())
    }

    /// Returns the timestamp of the first of them.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let fetching = self.schema.as_ref().map(|fetch| &fetch.arrival.record);
        let ready = self.arrivals.front().map(|arrival| &arrival.record);
        let first = ready.or(fetching).or(self.undecoded.front())?;
        Some(first.timestamp)
    }

    pub(super) fn push(&mut self, records: Vec<Record>) {
        self.bytes += records.iter().map(Record::bytes).sum::<usize>();
        self.undecoded.extend(records);
    }

    /// Decodes records up to the first whose schema is unknown. While that one is fetched, the partition waits, and the
    /// lane continues with the others.
    pub(super) fn decode(&mut self, runtime: &Arc<Runtime<L>>, queue: &Arc<Queue>) {
        if let Some(fetch) = self.schema.take() {
            match fetch.is_known.get() {
                None => {
                    self.schema = Some(fetch);
                    return;
                }
                Some(true) => self.undecoded.push_front(fetch.arrival.record),
                Some(false) => self.arrived(runtime, fetch.arrival),
            }
        }
        while let Some(record) = self.undecoded.pop_front() {
            match decode(runtime, &self.subscription, record) {
                Ok(arrival) => self.arrived(runtime, arrival),
                Err(missing) => {
                    self.schema = Some(fetch(runtime, queue, *missing));
                    return;
                }
            }
        }
    }

    fn arrived(&mut self, runtime: &Runtime<L>, arrival: Arrival) {
        if let Some(message) = arrival.message() {
            message.start_span(runtime.service);
        }
        self.arrivals.push_back(arrival);
    }

    /// Drops records that were redelivered, or applied by a transaction of unknown outcome.
    pub(super) fn drop_applied(&mut self) {
        let position = self.position.unwrap_or(0);
        while let Some(first) = self.arrivals.pop_front_if(|first| first.record.offset < position) {
            self.bytes -= first.record.bytes();
        }
    }

    /// Drops the first `count` records, which were applied, and updates the metrics.
    pub(super) fn applied(&mut self, count: usize, metrics: &Metrics) {
        self.back_off = FIRST_BACK_OFF;
        self.has_failed = false;
        let applied: Vec<_> = self.arrivals.drain(..count).collect();
        let Some(last) = applied.last() else { return };
        self.position = Some(last.record.offset + 1);
        let topic = last.record.partition.topic.as_str();
        let ages = metrics.message_age.with_label_values(&[topic]);
        for arrival in &applied {
            self.bytes -= arrival.record.bytes();
            match arrival.message() {
                Some(message) => {
                    ages.observe(age(message.envelope().time));
                    message.end_span();
                }
                None if self.subscription.handler.is_none() => ages.observe(age(arrival.record.timestamp)),
                None => {}
            }
        }
    }

    /// Lets the partition wait, longer each time.
    pub(super) fn retry_later(&mut self) {
        self.has_failed = true;
        self.retry_at = Some(Instant::now() + self.back_off);
        self.back_off = (self.back_off * 2).min(LONGEST);
    }
}

/// Fetches a schema in a separate task, however long the registry is unreachable, and notifies the lane.
fn fetch<L: Ledger>(runtime: &Arc<Runtime<L>>, queue: &Arc<Queue>, missing: MissingSchema) -> SchemaFetch {
    let is_known = Arc::new(OnceLock::new());
    let (partition, offset) = (missing.arrival.record.partition.clone(), missing.arrival.record.offset);
    let (runtime, queue, result) = (Arc::clone(runtime), Arc::clone(queue), Arc::clone(&is_known));
    let task = tokio::spawn(async move {
        let fetched = runtime.fetch_schema(missing.id, &partition, offset).await;
        result.set(fetched).expect("only this task sets the result");
        queue.notify();
    });
    SchemaFetch {
        arrival: missing.arrival,
        is_known,
        _task: AbortOnDropHandle::new(task),
    }
}

/// Returns the age of a message in seconds; 0 if `time` is in the future.
fn age(time: Timestamp) -> f64 {
    let micros = Timestamp::now().as_micros() - time.as_micros();
    micros.max(0) as f64 / 1e6
}
