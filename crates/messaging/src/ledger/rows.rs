//! The rows of the bookkeeping, as every store has them.

use std::time::Duration;

use bytes::Bytes;
use contracts::Timestamp;
use contracts::dead_letters::DeadLetterReason;
use uuid::Uuid;

use crate::record::{Headers, Record};

/// A message that takes effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxEntry {
    pub id: Uuid,
    pub attempt: i32,
    /// `ce_dueat`, else `ce_time`: every copy of the message has the same, so that the inbox can be kept in
    /// time partitions and still find it.
    pub since: Timestamp,
}

/// How far one key of a sequenced topic has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// The last number applied; 0 where nothing was.
    pub last: i64,
    /// The `ce_id` that number came under.
    pub last_id: Option<Uuid>,
    /// The number that failed and holds the key back, if one did.
    pub poisoned_at: Option<i64>,
    /// Whether messages of this key wait in `parked`.
    pub has_parked: bool,
}

/// A record that waits for its turn: behind a gap, or behind a poison message of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Parked {
    pub key: Uuid,
    pub sequence: i64,
    pub id: Uuid,
    pub record: Record,
    /// What went wrong with it; empty for those that merely wait.
    pub error: String,
}

/// A record that nobody will apply, kept with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub id: Uuid,
    pub reason: DeadLetterReason,
    pub detail: String,
    pub record: Record,
}

/// A message ready for Kafka: framed bytes and headers, as they were when it was appended.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// The topic with its prefix.
    pub topic: String,
    pub key: Uuid,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Headers,
    /// Not before this time; such a row has no owner until it is due.
    pub due_at: Option<Timestamp>,
}

/// An outbox row as the relay sees it.
#[derive(Debug, Clone)]
pub struct OutboxRow<Id> {
    pub id: Id,
    /// The relay whose row it is; deleting is guarded by it.
    pub owner: Uuid,
    pub message: OutboxMessage,
}

/// Rows that wait in the outbox, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OutboxGauge {
    pub rows: i64,
    /// Age of the oldest row that is due.
    pub oldest_age: Duration,
}

/// A key whose messages wait: behind a poison message, or behind a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    pub topic: String,
    pub key: Uuid,
    /// The last number applied.
    pub last: i64,
    /// The number that can't be applied; `None`: the next one has not arrived.
    pub poisoned_at: Option<i64>,
    /// What is wrong with it; empty for a gap.
    pub error: String,
    /// Records that wait.
    pub waiting: i64,
    /// Since the first of them was parked.
    pub age: Duration,
}

/// The keys of one topic that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTopic {
    pub topic: String,
    /// Keys behind a poison message.
    pub poisoned: i64,
    /// Keys behind a gap.
    pub gaps: i64,
    /// Since the first record was parked behind one; zero without a gap.
    pub oldest_gap: Duration,
}

/// A dead letter, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDeadLetter {
    pub dead_letter: DeadLetter,
    /// The command that it was sent again as.
    pub redriven_as: Option<Uuid>,
}

/// What a store knows of a message, found by its id or its correlation id. Without the values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MessageTrace {
    /// Said, and not acknowledged yet; with `due_at` for later.
    pub outbox: Vec<OutboxMessage>,
    /// The attempts that took effect, in order.
    pub inbox: Vec<i32>,
    /// Where it is the last one applied: topic, key and number.
    pub applied: Vec<(String, Uuid, i64)>,
    pub parked: Vec<Parked>,
    pub dead_letters: Vec<StoredDeadLetter>,
}

/// A schema and the id the registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchema {
    pub id: i32,
    pub schema: String,
}
