//! Questions to the audit log: the topic `audit.queries`. The answer is a [`CommandAccepted`](crate::CommandAccepted)
//! whose `result` holds the entries.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A question to the audit log.
    pub AuditQuery on AUDIT_QUERIES in "audit.queries" as "rollcall.audit.queries" { FindAuditEntries }
}

/// Find entries of the audit log; what is `None` does not narrow the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindAuditEntries {
    /// Key of the records.
    pub aggregate_id: Option<Uuid>,
    pub correlation_id: Option<Uuid>,
    /// In the form of [`Actor`](crate::Actor), e.g. `user:<uuid>`.
    pub actor: Option<String>,
    /// Full name of the records.
    pub message_type: Option<String>,
    /// Inclusive.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub until: Option<Timestamp>,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Entries a page holds at most.
    pub limit: i32,
}
