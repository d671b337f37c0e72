//! Detects partitions that have a lag and do not advance, as a pure function of the observed lags.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::consuming::lane::queue::PartitionLag;
use crate::wire::record::TopicPartition;

/// A partition that has a lag and has not advanced for too long.
#[derive(Debug, Clone)]
pub(super) struct Stall {
    pub(super) lag: PartitionLag,
    pub(super) since: Instant,
}

/// A partition that is missing for this long no longer belongs to this process. A replaced client gets its partitions back
/// sooner.
const ABSENCE: Duration = Duration::from_secs(10);
/// Each report of a partition that still does not advance doubles the time to the next report, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The partitions with a lag, and since when each has not advanced.
pub(super) struct Stalls {
    limit: Duration,
    waiting: HashMap<TopicPartition, Waiting>,
}

struct Waiting {
    position: i64,
    since: Instant,
    /// Time of the last observation.
    seen: Instant,
    /// There is no record between the position and this offset.
    empty_until: Option<i64>,
    /// Time of the next report, and the interval from then to the following one.
    due: Instant,
    pause: Duration,
    alarmed: bool,
}

impl Stalls {
    /// Creates a detector that reports a partition when it has not advanced for `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting: HashMap::new(),
        }
    }

    /// Returns the partitions that have not advanced for the limit. If the worker holds records, `busy_limit` applies if it
    /// is longer, because one transaction may take that long. A partition that still does not advance is returned again
    /// after twice the time.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        lags: &[PartitionLag],
        busy_limit: impl Fn(&PartitionLag) -> Duration,
    ) -> Vec<Stall> {
        let mut before = std::mem::take(&mut self.waiting);
        let mut stalls = Vec::new();
        for caught_up in lags.iter().filter(|lag| lag.lag == 0) {
            before.remove(&caught_up.partition);
        }
        for lag in lags.iter().filter(|lag| lag.lag > 0) {
            let limit = if lag.is_idle {
                self.limit
            } else {
                self.limit.max(busy_limit(lag))
            };
            let has_not_advanced = |known: &Waiting| {
                let has_a_record_now = known.empty_until.is_some_and(|end| end < lag.position + lag.lag);
                known.position == lag.position && !has_a_record_now
            };
            let known = before.remove(&lag.partition).filter(has_not_advanced);
            let mut waiting = known.unwrap_or(Waiting {
                position: lag.position,
                since: now,
                seen: now,
                empty_until: None,
                due: now,
                pause: Duration::ZERO,
                alarmed: false,
            });
            waiting.seen = now;
            if waiting.pause.is_zero() {
                waiting.due = waiting.since + limit;
            }
            if now >= waiting.due {
                waiting.pause = (waiting.pause * 2).clamp(limit, LONGEST_PAUSE.max(limit));
                waiting.due = now + waiting.pause;
                waiting.alarmed = true;
                stalls.push(Stall {
                    lag: lag.clone(),
                    since: waiting.since,
                });
            }
            self.waiting.insert(lag.partition.clone(), waiting);
        }
        before.retain(|_, missing| now < missing.seen + ABSENCE);
        self.waiting.extend(before);
        stalls
    }

    /// Withdraws the report of a partition that has no record up to its present end.
    pub(super) fn dismiss(&mut self, lag: &PartitionLag) {
        if let Some(waiting) = self.waiting.get_mut(&lag.partition) {
            waiting.alarmed = false;
            waiting.empty_until = Some(lag.position + lag.lag);
        }
    }

    /// Returns the number of partitions that were reported, not dismissed, and have not advanced since.
    pub(super) fn alarmed(&self) -> i64 {
        self.waiting.values().filter(|waiting| waiting.alarmed).count() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const BUSY_LIMIT: Duration = Duration::from_secs(60);

    struct Observed {
        stalls: Stalls,
        start: Instant,
    }

    impl Observed {
        fn new() -> Self {
            Self {
                stalls: Stalls::new(LIMIT),
                start: Instant::now(),
            }
        }

        /// Observes that no partition is assigned after `seconds`.
        fn absent(&mut self, seconds: u64) {
            let now = self.start + Duration::from_secs(seconds);
            assert!(self.stalls.observe(now, &[], |_| BUSY_LIMIT).is_empty());
        }

        /// Observes one partition after `seconds`, and returns the reported positions.
        fn at(&mut self, seconds: u64, position: i64, lag: i64, is_idle: bool) -> Vec<i64> {
            let lag = PartitionLag {
                partition: TopicPartition::new("events", 0),
                position,
                lag,
                age: Duration::ZERO,
                is_idle,
            };
            let now = self.start + Duration::from_secs(seconds);
            let stalls = self.stalls.observe(now, &[lag], |_| BUSY_LIMIT);
            stalls.into_iter().map(|stall| stall.lag.position).collect()
        }
    }

    #[test]
    fn a_partition_that_advances_is_not_reported() {
        let mut observed = Observed::new();
        for second in 0..100 {
            assert!(observed.at(second, second as i64 / 9, 5, true).is_empty(), "{second}");
        }
        assert_eq!(observed.stalls.alarmed(), 0);
    }

    #[test]
    fn a_partition_without_a_lag_is_not_reported() {
        let mut observed = Observed::new();
        assert!(observed.at(0, 7, 0, true).is_empty());
        assert!(observed.at(100, 7, 0, true).is_empty());
        // Its time counts from the first lag.
        assert!(observed.at(101, 7, 1, true).is_empty());
        assert!(observed.at(110, 7, 1, true).is_empty());
        assert_eq!(observed.at(111, 7, 1, true), [7]);
    }

    #[test]
    fn a_stalled_partition_is_reported_again_after_twice_the_time() {
        let mut observed = Observed::new();
        let reported: Vec<_> = (0..100)
            .filter(|second| !observed.at(*second, 7, 1, true).is_empty())
            .collect();
        assert_eq!(reported, [10, 20, 40, 80]);
        assert_eq!(observed.stalls.alarmed(), 1);
        assert!(observed.at(100, 8, 1, true).is_empty());
        assert_eq!(observed.stalls.alarmed(), 0);
    }

    #[test]
    fn a_worker_that_holds_records_has_the_time_of_a_transaction() {
        let mut observed = Observed::new();
        let reported: Vec<_> = (0..100)
            .filter(|second| !observed.at(*second, 7, 1, false).is_empty())
            .collect();
        assert_eq!(reported, [60]);
    }

    #[test]
    fn a_stalled_partition_stays_reported_while_its_client_is_replaced() {
        let mut observed = Observed::new();
        observed.at(0, 7, 1, true);
        assert_eq!(observed.at(10, 7, 1, true), [7]);
        for second in 11..15 {
            observed.absent(second);
            assert_eq!(observed.stalls.alarmed(), 1);
        }
        let reported: Vec<_> = (15..100)
            .filter(|second| !observed.at(*second, 7, 1, true).is_empty())
            .collect();
        assert_eq!(reported, [20, 40, 80]);

        observed.absent(109);
        assert_eq!(observed.stalls.alarmed(), 0, "another process has the partition");
        assert!(observed.at(110, 7, 1, true).is_empty());
    }

    #[test]
    fn a_dismissed_partition_is_reported_again_when_a_record_arrives() {
        let mut observed = Observed::new();
        observed.at(0, 7, 1, true);
        assert_eq!(observed.at(10, 7, 1, true), [7]);
        let dismissed = PartitionLag {
            partition: TopicPartition::new("events", 0),
            position: 7,
            lag: 1,
            age: Duration::ZERO,
            is_idle: true,
        };
        observed.stalls.dismiss(&dismissed);
        assert_eq!(observed.stalls.alarmed(), 0);
        assert!(observed.at(11, 7, 1, true).is_empty());
        assert!(observed.at(15, 7, 2, true).is_empty());
        assert!(observed.at(24, 7, 2, true).is_empty());
        assert_eq!(observed.at(25, 7, 2, true), [7]);
        assert_eq!(observed.stalls.alarmed(), 1);
    }
}
