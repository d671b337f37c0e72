//! The lanes of a bench, and the records that they have read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use contracts::{Topic, topics};
use futures::future::join_all;
use messaging::ledger::Ledger;
use messaging::{Lane, Record, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::{Bench, DEADLINE};
use crate::eventually::eventually;

/// Each lane owns the partitions with one number of all topics, so that it meets all topics of a key, and tests control
/// lanes of several partitions. Ops commands have a separate lane.
pub(super) type Lanes<L> = HashMap<LaneOf, Arc<tokio::sync::Mutex<Assigned<L>>>>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LaneOf {
    Partition(i32),
    OpsCommands,
}

impl LaneOf {
    fn new(topic: &Topic, partition: i32) -> Self {
        if topic.name == topics::OPS_COMMANDS.name {
            Self::OpsCommands
        } else {
            Self::Partition(partition)
        }
    }
}

/// A lane and its assigned partitions.
pub(super) struct Assigned<L: Ledger> {
    lane: Lane<L>,
    /// The offsets that Kafka would return next.
    next_offsets: HashMap<TopicPartition, i64>,
    /// The last batch was not completed, as if the process had crashed.
    interrupted: bool,
}

impl<L: Ledger> Bench<L> {
    /// Lets the lane of one partition apply the records of that partition that it has not read.
    pub async fn catch_up_on(&self, topic: &'static Topic, partition: i32) {
        self.work(LaneOf::new(topic, partition), Some(topic)).await;
        self.check_left_over().await;
    }

    /// Lets every lane apply the records that it has not read, in one batch per lane.
    pub async fn catch_up(&self) {
        let lanes: HashSet<LaneOf> = self
            .log
            .partitions_with_records(&self.settings.topic_prefix)
            .into_iter()
            .filter(|(topic, _)| self.subscribes_to(topic))
            .map(|(topic, partition)| LaneOf::new(topic, partition))
            .collect();
        join_all(lanes.into_iter().map(|lane| self.work(lane, None))).await;
        self.check_left_over().await;
    }

    /// Lets one new lane that owns every partition apply the records that were not applied, together.
    pub async fn catch_up_in_one_lane(&self) {
        let (mut lane, partitions) = self.lane_of_all().await;
        let records = self.unapplied(&lane, &partitions);
        let stop = CancellationToken::new();
        let processed = tokio::time::timeout(DEADLINE, lane.process(records, &stop)).await;
        let processed = processed.unwrap_or_else(|_| panic!("the lane is still waiting after {DEADLINE:?}"));
        processed.expect("the lane is not stopped");
        self.check_left_over().await;
    }

    /// Lets one new lane that owns every partition apply what it can until `reached` returns true, although some records
    /// cannot be applied.
    pub async fn work_in_one_lane_until<F: Future<Output = bool>>(&self, reached: impl Fn() -> F) {
        let (mut lane, partitions) = self.lane_of_all().await;
        let records = self.unapplied(&lane, &partitions);
        let stop = CancellationToken::new();
        let reached = eventually("the lane gets there", DEADLINE, || async {
            reached().await.then_some(())
        });
        tokio::select! {
            () = reached => {}
            processed = lane.process(records, &stop) => panic!("every record was applied: {processed:?}"),
        }
        self.check_left_over().await;
    }

    /// Returns a lane that owns every partition with records, and these partitions. The other lanes lose them.
    async fn lane_of_all(&self) -> (Lane<L>, Vec<(&'static Topic, i32)>) {
        self.lock(&self.lanes).clear();
        let mut partitions = self.log.partitions_with_records(&self.settings.topic_prefix);
        partitions.retain(|(topic, _)| self.subscribes_to(topic));
        let lane = self.connected().lane(&self.subscriptions, &partitions).await;
        (lane.expect("the store returns the positions"), partitions)
    }

    fn unapplied(&self, lane: &Lane<L>, partitions: &[(&'static Topic, i32)]) -> Vec<Record> {
        let names = partitions
            .iter()
            .map(|(topic, partition)| TopicPartition::new(self.topic_name(topic), *partition));
        names
            .flat_map(|name| self.log.read(&name, lane.position(&name).unwrap_or(0)))
            .collect()
    }

    /// Returns `true` if the service subscribes to `topic`. Every service subscribes to `ops.commands`.
    fn subscribes_to(&self, topic: &Topic) -> bool {
        let mut topics = self.subscriptions.topics().chain([&topics::OPS_COMMANDS]);
        topics.any(|known| known.name == topic.name)
    }

    /// Lets a lane apply the records that it has not read: of one topic, or of all.
    async fn work(&self, of: LaneOf, only: Option<&'static Topic>) {
        let slot = self.slot(of).await;
        let mut assigned = slot.lock().await;
        if assigned.interrupted {
            *assigned = self.assign(of).await;
        }
        loop {
            let mut next_offsets = assigned.next_offsets.clone();
            let mut records = Vec::new();
            for (name, next) in &mut next_offsets {
                if only.is_none_or(|topic| self.topic_name(topic) == name.topic) {
                    records.extend(self.log.read(name, *next));
                    *next = records.last().map_or(*next, |last: &Record| {
                        if last.partition == *name {
                            last.offset + 1
                        } else {
                            *next
                        }
                    });
                }
            }
            if records.is_empty() {
                return;
            }
            let stop = CancellationToken::new();
            assigned.interrupted = true;
            let processed = tokio::time::timeout(DEADLINE, assigned.lane.process(records, &stop)).await;
            if processed
                .unwrap_or_else(|_| panic!("a lane is still waiting after {DEADLINE:?}"))
                .is_ok()
            {
                assigned.interrupted = false;
                assigned.next_offsets = next_offsets;
                return;
            }
            // The lane stopped, which ends a process. Its successor is assigned the partitions.
            *assigned = self.assign(of).await;
        }
    }

    async fn slot(&self, of: LaneOf) -> Arc<tokio::sync::Mutex<Assigned<L>>> {
        let known = self.lock(&self.lanes).get(&of).cloned();
        match known {
            Some(slot) => slot,
            None => {
                let assigned = Arc::new(tokio::sync::Mutex::new(self.assign(of).await));
                let mut lanes = self.lock(&self.lanes);
                Arc::clone(lanes.entry(of).or_insert(assigned))
            }
        }
    }

    /// Assigns the partitions of a lane. Like a consumer, it waits until the store returns the positions.
    async fn assign(&self, of: LaneOf) -> Assigned<L> {
        let partitions: Vec<(&'static Topic, i32)> = match of {
            LaneOf::OpsCommands => (0..self.log.partitions())
                .map(|partition| (&topics::OPS_COMMANDS, partition))
                .collect(),
            LaneOf::Partition(partition) => self.subscriptions.topics().map(|topic| (topic, partition)).collect(),
        };
        let lane = eventually("the store returns the positions", DEADLINE, || async {
            self.connected().lane(&self.subscriptions, &partitions).await.ok()
        });
        let lane = lane.await;
        let names = partitions
            .iter()
            .map(|(topic, partition)| TopicPartition::new(self.topic_name(topic), *partition));
        Assigned {
            next_offsets: names
                .map(|name| {
                    let next = lane.position(&name).unwrap_or(0);
                    (name, next)
                })
                .collect(),
            lane,
            interrupted: false,
        }
    }

    /// Assigns a topic's partitions to this process, which resumes from the positions that are stored now. The other
    /// partitions of the same lanes are assigned again too.
    pub async fn assign_now(&self, topic: &'static Topic) {
        for partition in 0..self.log.partitions() {
            let of = LaneOf::new(topic, partition);
            let slot = self.slot(of).await;
            *slot.lock().await = self.assign(of).await;
        }
    }

    /// Makes Kafka return the records of one partition from `offset` on again, to the existing lane.
    pub async fn rewind(&self, topic: &'static Topic, partition: i32, offset: i64) {
        let slot = self.slot(LaneOf::new(topic, partition)).await;
        let name = TopicPartition::new(self.topic_name(topic), partition);
        slot.lock().await.next_offsets.insert(name, offset);
    }
}
