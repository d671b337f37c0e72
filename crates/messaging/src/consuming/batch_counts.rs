//! The counts of one topic in one transaction.

use contracts::dead_letters::DeadLetterReason;

use crate::metrics::Metrics;

/// Counts of one topic in one transaction, added to the metrics after its commit.
#[derive(Default)]
pub(crate) struct BatchCounts {
    pub(crate) records: usize,
    pub(crate) applied: usize,
    pub(crate) duplicates: usize,
    pub(crate) gaps: usize,
    pub(crate) forks: usize,
    pub(crate) stubs: usize,
    pub(crate) dead: Vec<DeadLetterReason>,
}

impl BatchCounts {
    /// Adds the counts to the metrics of a topic, which is named with its prefix.
    pub(crate) fn add_to(self, metrics: &Metrics, topic: &str) {
        let labels = &[topic];
        metrics
            .batch_size
            .with_label_values(labels)
            .observe(self.records as f64);
        metrics.count_messages(topic, "applied", self.applied);
        metrics.count_messages(topic, "duplicate", self.duplicates);
        metrics.count_messages(topic, "fork", self.forks);
        metrics.forks.with_label_values(labels).inc_by(self.forks as u64);
        metrics
            .duplicates
            .with_label_values(labels)
            .inc_by(self.duplicates as u64);
        metrics.gaps.with_label_values(labels).inc_by(self.gaps as u64);
        metrics.stubs.with_label_values(labels).inc_by(self.stubs as u64);
        for reason in self.dead {
            metrics
                .dead_letters
                .with_label_values(&[topic, &format!("{reason:?}").to_lowercase()])
                .inc();
        }
    }
}
