//! The rows of the ledger, which every store has.

use std::time::Duration;

use bytes::Bytes;
use contracts::Timestamp;
use contracts::dead_letters::DeadLetterReason;
use uuid::Uuid;

use crate::wire::record::{Headers, Record, TopicPartition};

/// A partition's move from one position to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub partition: TopicPartition,
    /// The stored position that is expected; `None` if none is stored.
    pub from: Option<i64>,
    /// The next offset to apply after the transaction.
    pub to: i64,
}

/// A key of a topic, which is named with its prefix. Numbers (`ce_sequence`) count within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicKey {
    pub topic: String,
    pub key: Uuid,
}

impl TopicKey {
    pub fn new(topic: impl Into<String>, key: Uuid) -> Self {
        Self {
            topic: topic.into(),
            key,
        }
    }
}

/// An inbox entry: a message that takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxEntry {
    pub id: Uuid,
    pub attempt: i32,
    /// `ce_dueat`, or `ce_time` if the message has no due time. Every copy of the message has the same, so an inbox
    /// that is partitioned by time still finds it.
    pub since: Timestamp,
}

/// The progress of one key of a sequenced topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// The last number that was applied; 0 if none was.
    pub last: i64,
    /// The `ce_id` of the message with that number.
    pub last_id: Option<Uuid>,
    /// The number that failed and blocks the key.
    pub poisoned_at: Option<i64>,
    /// `true` if messages of this key are parked.
    pub has_parked: bool,
}

/// A record that waits for its turn: behind a gap, or behind a poison message of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    pub key: Uuid,
    pub sequence: i64,
    pub id: Uuid,
    pub record: Record,
    /// The error that the record caused; empty for a record that only waits for another one.
    pub error: String,
}

impl Parked {
    /// Returns the key on the record's topic.
    pub fn topic_key(&self) -> TopicKey {
        TopicKey::new(self.record.partition.topic.as_str(), self.key)
    }
}

/// A record that will not be applied, stored with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub id: Uuid,
    pub reason: DeadLetterReason,
    pub detail: String,
    pub record: Record,
}

/// A message that is ready for Kafka: its framed bytes and headers as of the append.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// The topic with its prefix.
    pub topic: String,
    pub key: Uuid,
    /// `None` for a tombstone.
    pub value: Option<Bytes>,
    pub headers: Headers,
    /// The earliest time of publication. A row with a due time has no owner until it is due.
    pub due_at: Option<Timestamp>,
}

/// An outbox row as the relay sees it.
#[derive(Debug, Clone)]
pub struct OutboxRow<Id> {
    pub id: Id,
    /// The relay lease to which the row belongs. Only its owner deletes it.
    pub owner: Uuid,
    pub message: OutboxMessage,
}

/// The size of the outbox, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OutboxGauge {
    pub rows: i64,
    /// Age of the oldest row that is due.
    pub oldest_age: Duration,
}

/// A key with parked records, behind a poison message or a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    pub topic: String,
    pub key: Uuid,
    /// The last number that was applied.
    pub last: i64,
    /// The number that cannot be applied. `None` for a gap: the next number has not arrived.
    pub poisoned_at: Option<i64>,
    /// The error of that number; empty for a gap.
    pub error: String,
    /// Number of parked records.
    pub waiting: i64,
    /// Time since the first of them was parked.
    pub age: Duration,
}

/// The number of pending keys of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTopic {
    pub topic: String,
    /// Keys behind a poison message.
    pub poisoned: i64,
    /// Keys behind a gap.
    pub gaps: i64,
    /// Time since the first record was parked behind a gap; zero without a gap.
    pub oldest_gap: Duration,
}

/// A dead letter and its redrive.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDeadLetter {
    pub dead_letter: DeadLetter,
    /// The id of the new command with which it was redriven.
    pub redriven_as: Option<Uuid>,
}

/// Everything that a store knows of a message, found by its id or its correlation id. No row has a value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageTrace {
    /// Messages that were appended and not acknowledged yet; delayed ones have a `due_at`.
    pub outbox: Vec<OutboxMessage>,
    /// The attempts that took effect, in order.
    pub inbox: Vec<i32>,
    /// The keys whose last applied message it is: topic, key and number.
    pub applied: Vec<(String, Uuid, i64)>,
    pub parked: Vec<Parked>,
    pub dead_letters: Vec<StoredDeadLetter>,
}

/// A schema and the id that the registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchema {
    pub id: i32,
    pub schema: String,
}
