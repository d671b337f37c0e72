//! Operations: the topics `ops.commands` and `ops.status`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A request from an operator to the processes of a service.
    pub OpsCommand on OPS_COMMANDS in "ops.commands" as "rollcall.ops.commands" { ReleaseKey }
}

topic! {
    /// The newest status of a process.
    pub ProcessStatusState on OPS_STATUS in "ops.status" as "rollcall.ops.status" { ProcessStatus }
}

/// Apply what is parked for one key of one service, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseKey {
    pub service: String,
    /// Topic of the parked messages, without prefix.
    pub topic: String,
    pub parked_key: Uuid,
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
