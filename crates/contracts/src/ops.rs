//! Commands of operators and the status of processes: the topics `ops.commands` and `ops.status`.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Date, Timestamp, message::topic, security::Role};

topic! {
    /// A request from an operator to the processes of a service.
    pub OpsCommand on OPS_COMMANDS in "ops.commands" as "rollcall.ops.commands" {
        ReleaseKey,
        FindParked,
        FindDeadLetters,
        ShowDeadLetter,
        RedriveDeadLetter,
        DiscardDeadLetter,
        DiscardParked,
        SkipOffset,
        WhereIs,
        Republish,
        ReadHistory,
        ReadAggregate,
        VerifySnapshots,
        Replay,
        CreateAdmin,
        GrantRole,
    }
}

topic! {
    /// The newest status of a process.
    pub ProcessStatusState on OPS_STATUS in "ops.status" as "rollcall.ops.status" { ProcessStatus } or tombstone
}

/// Apply the parked messages of one key of one service, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseKey {
    pub service: String,
    /// Topic of the parked messages, without prefix.
    pub topic: String,
    pub parked_key: Uuid,
}

/// List the parked keys, and the keys with a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindParked {
    pub service: String,
    /// Cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of rows per page.
    pub limit: i32,
}

/// List dead letters, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindDeadLetters {
    pub service: String,
    /// Cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of rows per page.
    pub limit: i32,
}

/// Show one dead letter with its headers and its content, without personal fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Send a dead-lettered command again, as a new command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedriveDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Delete a dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscardDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Delete one parked record, so that another record with the same sequence can be applied. The record has no effect at this
/// service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscardParked {
    pub service: String,
    /// Topic of the record, without prefix.
    pub topic: String,
    pub parked_key: Uuid,
    /// `ce_sequence` of the record.
    pub sequence: i64,
    /// `ce_id` of the record; if it is set, a record with another id is not deleted.
    pub message_id: Option<Uuid>,
    /// Reason, for the audit log.
    pub reason: String,
}

/// Report the processing state of a message at this service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhereIs {
    pub service: String,
    /// `ce_id` of the message, or its correlation id.
    pub message_id: Uuid,
}

/// Publish domain events of an aggregate again from the journal, with their original ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Republish {
    pub service: String,
    pub aggregate_id: Uuid,
    /// First version to publish.
    pub from_version: i64,
    /// Last version to publish; `None`: the newest.
    pub to_version: Option<i64>,
}

/// Read the domain events of an aggregate from the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadHistory {
    pub service: String,
    pub aggregate_id: Uuid,
    /// Only later versions are read.
    pub after_version: i64,
    /// Maximum number of domain events to read.
    pub limit: i32,
}

/// Read the state of an aggregate, at a version or time if one is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadAggregate {
    pub service: String,
    pub aggregate_id: Uuid,
    pub version: Option<i64>,
    pub at: Option<Timestamp>,
}

/// Compare each snapshot with the state that follows from all domain events of its aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifySnapshots {
    pub service: String,
}

/// Rebuild a read model from the topics alongside the live one, compare the two, and swap them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    pub service: String,
    /// Name of the read model.
    pub projection: String,
}

/// Create an account with the role admin. Its user sets the password with a link sent by e-mail.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateAdmin {
    /// A new UUID.
    pub user_id: Uuid,
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
}

/// Grant a role to a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantRole {
    pub user_id: Uuid,
    pub role: Role,
}

/// Status of one process, which every process publishes every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub service: String,
    /// New at every start.
    pub instance: Uuid,
    pub version: String,
    pub started_at: Timestamp,
    pub reported_at: Timestamp,
    /// `true` if the process is ready for work.
    pub ready: bool,
    /// Number of messages in the outbox that the broker has not acknowledged.
    pub outbox_rows: i64,
    /// 0 if the outbox is empty.
    pub outbox_oldest_age_ms: i64,
    pub assignments: Vec<Assignment>,
    /// Number of keys that are parked at this service because of a poison message.
    pub parked_keys: i64,
    /// 0 if there is none.
    pub oldest_gap_age_ms: i64,
    /// Number of dead letters in the store of this service.
    pub dead_letters: i64,
}

/// A partition that is assigned to the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    /// Offset of the next record to apply.
    pub position: i64,
    /// Number of records between the position and the end of the partition.
    pub lag: i64,
    /// Age of the next record, in milliseconds; `None` at the end of the partition.
    pub lag_ms: Option<i64>,
}

/// Skip one record that a service can never process. The record has no effect at this service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkipOffset {
    pub service: String,
    /// Topic of the record, without prefix.
    pub topic: String,
    pub partition: i32,
    /// Offset of the record. It must be the service's position.
    pub offset: i64,
    /// Reason, for the audit log.
    pub reason: String,
}

impl OpsCommand {
    /// Returns the name of the service that executes the command.
    pub fn service(&self) -> &str {
        match self {
            Self::ReleaseKey(command) => &command.service,
            Self::FindParked(command) => &command.service,
            Self::FindDeadLetters(command) => &command.service,
            Self::ShowDeadLetter(command) => &command.service,
            Self::RedriveDeadLetter(command) => &command.service,
            Self::DiscardDeadLetter(command) => &command.service,
            Self::DiscardParked(command) => &command.service,
            Self::SkipOffset(command) => &command.service,
            Self::WhereIs(command) => &command.service,
            Self::Republish(command) => &command.service,
            Self::ReadHistory(command) => &command.service,
            Self::ReadAggregate(command) => &command.service,
            Self::VerifySnapshots(command) => &command.service,
            Self::Replay(command) => &command.service,
            Self::CreateAdmin(_) | Self::GrantRole(_) => "gateway",
        }
    }
}

// Debug output reaches logs, and personal data must not.
impl fmt::Debug for CreateAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAdmin")
            .field("user_id", &self.user_id)
            .field("time_zone", &self.time_zone)
            .finish_non_exhaustive()
    }
}
