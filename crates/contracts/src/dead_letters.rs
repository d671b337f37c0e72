//! Dead-lettered records: the topic `dead-letters`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A fact about a dead-lettered record.
    pub DeadLetterFact on DEAD_LETTERS in "dead-letters" as "rollcall.dead_letters" { MessageDeadLettered }
}

/// A service dead-lettered a record. Its bytes stay in the service's own store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageDeadLettered {
    pub service: String,
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `ce_id` of the record; `None` if it is not readable.
    pub message_id: Option<Uuid>,
    /// `ce_type` of the record; `None` if it is not readable.
    pub message_type: Option<String>,
    pub reason: DeadLetterReason,
    /// One sentence for operators, without content of the record.
    pub detail: String,
    pub dead_lettered_at: Timestamp,
}

/// Reason why a record was dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeadLetterReason {
    Undecodable,
    UnknownType,
    WrongKey,
    Poison,
    Expired,
    MalformedEnvelope,
    /// Its sequence was applied under another id: the producer was restored from a backup.
    Fork,
    /// A symbol of a newer writer.
    Unknown,
}
