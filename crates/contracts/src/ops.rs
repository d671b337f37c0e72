//! Operations: the topics `ops.commands` and `ops.status`.

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

/// Apply what is parked for one key of one service, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseKey {
    pub service: String,
    /// Topic of the parked messages, without prefix.
    pub topic: String,
    pub parked_key: Uuid,
}

/// List the keys that are held back, and those with a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindParked {
    pub service: String,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Rows a page holds at most.
    pub limit: i32,
}

/// List what was set aside, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindDeadLetters {
    pub service: String,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Rows a page holds at most.
    pub limit: i32,
}

/// Show one dead letter with its headers, and with its content but for personal fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Do what a dead letter asks for after all, as a new command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedriveDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Drop a dead letter for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscardDeadLetter {
    pub service: String,
    pub dead_letter_id: Uuid,
}

/// Say what became of a message at this service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhereIs {
    pub service: String,
    /// `ce_id` of the message, or its correlation id.
    pub message_id: Uuid,
}

/// Publish domain events of an aggregate again, from the journal, under their ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Republish {
    pub service: String,
    pub aggregate_id: Uuid,
    /// The first.
    pub from_version: i64,
    /// The last; `None`: the newest.
    pub to_version: Option<i64>,
}

/// Read what happened to an aggregate, from the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadHistory {
    pub service: String,
    pub aggregate_id: Uuid,
    /// Versions up to this one are left out.
    pub after_version: i64,
    /// Domain events to read at most.
    pub limit: i32,
}

/// Read an aggregate as it is, or was; with neither version nor time, as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadAggregate {
    pub service: String,
    pub aggregate_id: Uuid,
    pub version: Option<i64>,
    pub at: Option<Timestamp>,
}

/// Compare each snapshot with what all its domain events make of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifySnapshots {
    pub service: String,
}

/// Build a read model anew from the topics, beside the live one, compare, and swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    pub service: String,
    /// Name of the read model.
    pub projection: String,
}

/// Open an account with the role of an admin; its password is set by a mailed link.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateAdmin {
    /// A new id.
    pub user_id: Uuid,
    pub email: String,
    pub username: String,
    pub full_name: String,
    pub date_of_birth: Date,
    /// IANA name, e.g. `Europe/Berlin`.
    pub time_zone: String,
}

/// Give a user a role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantRole {
    pub user_id: Uuid,
    pub role: Role,
}

/// How one process is doing; every process says so every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub service: String,
    /// New at every start.
    pub instance: Uuid,
    pub version: String,
    pub started_at: Timestamp,
    pub reported_at: Timestamp,
    /// Whether the process takes work.
    pub ready: bool,
    /// Own messages not yet acknowledged by the broker.
    pub outbox_rows: i64,
    /// 0 where there is none.
    pub outbox_oldest_age_ms: i64,
    pub assignments: Vec<Assignment>,
    /// Keys that a poison message holds back at this service.
    pub parked_keys: i64,
    /// 0 where there is none.
    pub oldest_gap_age_ms: i64,
    /// Kept by this service.
    pub dead_letters: i64,
}

/// A partition that the process works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    /// Offset of the next record to apply.
    pub position: i64,
    /// Records behind the end of the partition.
    pub lag: i64,
    /// Age of the next record; `None` at the end of the partition.
    pub lag_ms: Option<i64>,
}

/// Move a service past one record that it can never get past. The record takes no effect at this service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkipOffset {
    pub service: String,
    /// Topic of the record, without prefix.
    pub topic: String,
    pub partition: i32,
    /// Offset of the record. It must be the service's position.
    pub offset: i64,
    /// Why it is skipped, for the audit log.
    pub reason: String,
}

impl OpsCommand {
    /// The service that it is for.
    pub fn service(&self) -> &str {
        match self {
            Self::ReleaseKey(command) => &command.service,
            Self::FindParked(command) => &command.service,
            Self::FindDeadLetters(command) => &command.service,
            Self::ShowDeadLetter(command) => &command.service,
            Self::RedriveDeadLetter(command) => &command.service,
            Self::DiscardDeadLetter(command) => &command.service,
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

// Debug output ends in logs, and personal data must not.
impl fmt::Debug for CreateAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAdmin")
            .field("user_id", &self.user_id)
            .field("time_zone", &self.time_zone)
            .finish_non_exhaustive()
    }
}
