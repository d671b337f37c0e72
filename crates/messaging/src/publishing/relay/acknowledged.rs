//! Acknowledged rows, which are collected before they are deleted.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::wire::record::TopicPartition;

/// Time for which acknowledged rows are collected, so that few statements delete them. A crash within it only publishes
/// them twice.
const COLLECT_TIME: Duration = Duration::from_millis(150);
/// Number of rows that are deleted without waiting for more.
const COLLECT_ROWS: usize = 256;

/// Rows that the broker has acknowledged and that are not deleted yet.
pub(super) struct Acknowledged<Id> {
    pub(super) rows: Vec<(Id, Uuid)>,
    offsets: HashMap<TopicPartition, i64>,
    /// The time of the first acknowledgement.
    since: Instant,
}

impl<Id> Default for Acknowledged<Id> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            offsets: HashMap::new(),
            since: Instant::now(),
        }
    }
}

impl<Id> Acknowledged<Id> {
    /// Adds a row, and the offset at which the broker stored its message.
    pub(super) fn push(&mut self, row: (Id, Uuid), partition: TopicPartition, offset: i64) {
        if self.rows.is_empty() {
            self.since = Instant::now();
        }
        self.rows.push(row);
        self.add_offset(partition, offset);
    }

    /// Adds rows whose deletion failed.
    pub(super) fn put_back(&mut self, failed: Self) {
        self.rows.extend(failed.rows);
        for (partition, offset) in failed.offsets {
            self.add_offset(partition, offset);
        }
    }

    fn add_offset(&mut self, partition: TopicPartition, offset: i64) {
        let newest = self.offsets.entry(partition).or_insert(offset);
        *newest = offset.max(*newest);
    }

    /// Returns the newest offset of each partition.
    pub(super) fn offsets(&self) -> Vec<(TopicPartition, i64)> {
        let offsets = self.offsets.iter();
        offsets
            .map(|(partition, offset)| (partition.clone(), *offset))
            .collect()
    }

    /// Returns the time at which the rows must be deleted.
    pub(super) fn due(&self) -> Instant {
        self.since + COLLECT_TIME
    }

    /// Returns `true` if the rows must be deleted now.
    pub(super) fn is_due(&self) -> bool {
        self.rows.len() >= COLLECT_ROWS || (!self.rows.is_empty() && Instant::now() >= self.due())
    }
}
