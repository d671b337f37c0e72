//! The records that wait for a lane, between the poll thread and the lane's task.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contracts::Timestamp;
use tokio::sync::Notify;

use crate::wire::record::{Record, TopicPartition};

/// Maximum size of a partition's waiting records. The next record is still accepted, because it was fetched already.
const MAX_BYTES: usize = 1 << 20;

/// The state of a partition's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    Full,
}

/// A snapshot of one assigned partition.
#[derive(Debug, Clone)]
pub struct PartitionLag {
    pub partition: TopicPartition,
    pub position: i64,
    pub lag: i64,
    /// Age of the next record; zero at the end of the partition.
    pub age: Duration,
    /// `true` if the lane holds no record of it. With a lag, this means that nothing is fetched.
    pub is_idle: bool,
}

/// The assigned partitions of a lane and their waiting records.
pub(crate) struct Queue {
    /// Maximum number of a partition's waiting records.
    max_records: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) partitions: HashMap<TopicPartition, Waiting>,
    /// Number of assignments and revocations so far.
    pub(super) assignments: u64,
}

/// An assigned partition.
pub(super) struct Waiting {
    /// Distinguishes this assignment from an earlier one of the same partition.
    pub(super) assignment: u64,
    /// The stored position as of the assignment.
    pub(super) start: Option<i64>,
    pub(super) records: VecDeque<Record>,
    bytes: usize,
    /// The next offset to apply, for lag tools.
    pub(super) position: i64,
    /// Timestamp of the oldest record that the lane has taken and not applied.
    pub(super) oldest_taken: Option<Timestamp>,
    /// `true` while fetching is paused.
    paused: bool,
    /// The position that was last committed to the group.
    committed: i64,
    /// The end of the log.
    end: i64,
    /// No record is in the log between `position` and this offset: offsets may hold markers of transactions, or records
    /// that compaction has deleted.
    empty_until: i64,
}

impl Queue {
    pub(crate) fn new(max_records: usize) -> Self {
        Self {
            max_records,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a record has arrived or the assignment has changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes the lane look at its queue.
    pub(super) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Adds a partition. `start` is its stored position, `begin` where the fetch begins, `end` the end of the log.
    pub(crate) fn assign(&self, partition: TopicPartition, start: Option<i64>, begin: i64, end: i64) {
        let mut state = self.state();
        state.assignments += 1;
        let waiting = Waiting {
            assignment: state.assignments,
            start,
            records: VecDeque::new(),
            bytes: 0,
            position: begin,
            oldest_taken: None,
            paused: false,
            committed: 0,
            end,
            empty_until: 0,
        };
        state.partitions.insert(partition, waiting);
        drop(state);
        self.notify();
    }

    /// Removes a partition, and discards its records. Returns `false` if it was not assigned.
    pub(crate) fn revoke(&self, partition: &TopicPartition) -> bool {
        let mut state = self.state();
        state.assignments += 1;
        let was_assigned = state.partitions.remove(partition).is_some();
        drop(state);
        self.notify();
        was_assigned
    }

    /// Queues a record. A record of an old assignment is discarded, because its partition may belong to another process
    /// now.
    pub(crate) fn push(&self, record: Record) -> Room {
        let mut state = self.state();
        let Some(waiting) = state.partitions.get_mut(&record.partition) else {
            return Room::Enough;
        };
        waiting.empty_until = waiting.empty_until.min(record.offset);
        waiting.bytes += record.bytes();
        waiting.records.push_back(record);
        let is_full = waiting.records.len() >= self.max_records || waiting.bytes >= MAX_BYTES;
        drop(state);
        self.notify();
        if is_full { Room::Full } else { Room::Enough }
    }

    /// Stores that the consumer has handed over every record before `offset`.
    pub(crate) fn set_read(&self, partition: &TopicPartition, offset: i64) {
        if let Some(waiting) = self.state().partitions.get_mut(partition)
            && waiting.is_idle()
        {
            waiting.empty_until = offset;
        }
    }

    /// Calls `pause` if the partition is not paused yet. It remains unpaused if `pause` returns `false`.
    pub(crate) fn pause(&self, partition: &TopicPartition, pause: impl FnOnce() -> bool) {
        if let Some(waiting) = self
            .state()
            .partitions
            .get_mut(partition)
            .filter(|waiting| !waiting.paused)
        {
            waiting.paused = pause();
        }
    }

    /// Calls `resume` for paused partitions that have room again. Returns `true` if a partition is still paused.
    pub(crate) fn resume(&self, resume: impl Fn(&TopicPartition) -> bool) -> bool {
        let mut is_paused = false;
        for (partition, waiting) in &mut self.state().partitions {
            if waiting.paused {
                let has_room = waiting.records.len() * 2 <= self.max_records && waiting.bytes * 2 <= MAX_BYTES;
                waiting.paused = !(has_room && resume(partition));
                is_paused |= waiting.paused;
            }
        }
        is_paused
    }

    /// Returns the positions that advanced since the last call.
    pub(crate) fn take_advanced(&self) -> Vec<(TopicPartition, i64)> {
        let mut state = self.state();
        let advanced = state.partitions.iter_mut().filter_map(|(partition, waiting)| {
            let has_advanced = waiting.position > waiting.committed;
            waiting.committed = waiting.position;
            has_advanced.then(|| (partition.clone(), waiting.position))
        });
        advanced.collect()
    }

    /// Returns the position of an assigned partition.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.state().partitions.get(partition).map(|waiting| waiting.position)
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.state().partitions.keys().cloned().collect()
    }

    pub(crate) fn lags(&self) -> Vec<PartitionLag> {
        let state = self.state();
        let lags = state.partitions.iter();
        lags.map(|(partition, waiting)| waiting.lag(partition)).collect()
    }

    /// Stores the end of a log. Returns the lag of the partition if it is assigned.
    pub(crate) fn set_end(&self, partition: &TopicPartition, end: i64) -> Option<PartitionLag> {
        let mut state = self.state();
        let waiting = state.partitions.get_mut(partition)?;
        waiting.end = waiting.end.max(end);
        Some(waiting.lag(partition))
    }
}

impl Waiting {
    /// Takes records for the lane: at most `max_records` of at most `max_bytes` together, but at least one.
    pub(super) fn take(&mut self, max_records: usize, max_bytes: usize) -> Vec<Record> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < max_records
            && let Some(next) = self.records.front()
        {
            let size = next.bytes();
            if !taken.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            taken.extend(self.records.pop_front());
        }
        self.bytes -= bytes;
        taken
    }

    fn lag(&self, partition: &TopicPartition) -> PartitionLag {
        let lag = (self.end - self.position.max(self.empty_until)).max(0);
        let oldest = self
            .oldest_taken
            .or_else(|| self.records.front().map(|record| record.timestamp));
        let age = match oldest {
            Some(oldest) if lag > 0 => {
                let micros = Timestamp::now().as_micros() - oldest.as_micros();
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
            _ => Duration::ZERO,
        };
        PartitionLag {
            partition: partition.clone(),
            position: self.position,
            lag,
            age,
            is_idle: self.is_idle(),
        }
    }

    fn is_idle(&self) -> bool {
        self.oldest_taken.is_none() && self.records.is_empty()
    }
}
