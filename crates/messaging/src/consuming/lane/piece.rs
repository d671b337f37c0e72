//! A part of a batch that is applied in one transaction.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::partition::Owned;
use super::{ATTEMPTS_BEFORE_SPLIT, FIRST_BACK_OFF};
use crate::consuming::known_failures::KnownFailures;
use crate::consuming::transaction::Granularity;
use crate::ledger::Ledger;
use crate::wire::record::TopicPartition;

/// The first records of some partitions.
pub(super) struct Piece {
    /// Sorted; each count is positive.
    counts: Vec<(TopicPartition, usize)>,
    /// The failures of a single record that earlier attempts revealed.
    pub(super) known: KnownFailures,
    /// Number of failed attempts that the infrastructure caused.
    pub(super) attempts: u32,
    pub(super) conflicts: u32,
    pub(super) back_off: Duration,
}

impl Piece {
    pub(super) fn new(counts: Vec<(TopicPartition, usize)>) -> Self {
        Self {
            counts,
            known: KnownFailures::new(),
            attempts: 0,
            conflicts: 0,
            back_off: FIRST_BACK_OFF,
        }
    }

    /// Returns the first record of a partition that has failed before.
    pub(super) fn retry(partition: TopicPartition) -> Self {
        Self {
            attempts: ATTEMPTS_BEFORE_SPLIT,
            ..Self::new(vec![(partition, 1)])
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&TopicPartition, usize)> {
        self.counts.iter().map(|(partition, count)| (partition, *count))
    }

    /// Returns the distinct topics.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self.counts.chunk_by(|(one, _), (other, _)| one.topic == other.topic);
        topics.map(|partitions| partitions[0].0.topic.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns `true` if the piece is a single record.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.counts.as_slice(), [(_, 1)])
    }

    pub(super) fn granularity(&self) -> Granularity {
        if self.is_single() {
            Granularity::Single
        } else {
            Granularity::Batch
        }
    }

    /// Drops records that were applied by another transaction, and partitions that were revoked or wait after a failure.
    pub(super) fn restrict<L: Ledger>(&mut self, partitions: &mut BTreeMap<TopicPartition, Owned<L>>) {
        self.counts.retain_mut(|(partition, count)| {
            let owned = partitions.get_mut(partition).filter(|owned| owned.retry_at.is_none());
            let Some(owned) = owned else { return false };
            owned.drop_applied();
            *count = (*count).min(owned.arrivals.len());
            owned.arrivals.make_contiguous();
            *count > 0
        });
    }

    /// Returns two halves, the second one first: of the partitions, or of the records of a single partition.
    pub(super) fn split(mut self) -> [Self; 2] {
        if let [(partition, count)] = self.counts.as_slice() {
            let first = count / 2;
            return [
                Self::new(vec![(partition.clone(), count - first)]),
                Self::new(vec![(partition.clone(), first)]),
            ];
        }
        let second = self.counts.split_off(self.counts.len() / 2);
        [Self::new(second), Self::new(self.counts)]
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: usize = self.counts.iter().map(|(_, count)| count).sum();
        match self.counts.as_slice() {
            [(partition, _)] => write!(f, "{records} records of {partition}"),
            partitions => write!(f, "{records} records of {} partitions", partitions.len()),
        }
    }
}
