//! Records that were set aside: the topic `dead-letters`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A record was set aside.
    pub DeadLetterFact on DEAD_LETTERS in "dead-letters" as "rollcall.dead_letters" { MessageDeadLettered }
}

/// A service set a record aside; the bytes stay in its own store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageDeadLettered {
    pub service: String,
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `ce_id`, where it could be read.
    pub message_id: Option<Uuid>,
    /// `ce_type`, where it could be read.
    pub message_type: Option<String>,
    pub reason: DeadLetterReason,
    /// One sentence for operators, never content of the record.
    pub detail: String,
    pub dead_lettered_at: Timestamp,
}

/// Why a record was set aside.
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
