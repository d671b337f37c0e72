//! The audit log: its own facts (the topic `audit`), and queries to it (`audit.queries`). The reply to a query is a
//! [`CommandAccepted`](crate::CommandAccepted) whose `result` is JSON.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A query to the audit log.
    pub AuditQuery on AUDIT_QUERIES in "audit.queries" as "rollcall.audit.queries" {
        FindAuditEntries,
        ProveAuditEntry,
        FindCheckpoints,
        FindCertificates,
        VerifyAuditLog,
        ReadAuditLog,
    }
}

topic! {
    /// A fact about the audit log.
    pub AuditFact on AUDIT in "audit" as "rollcall.audit" { CheckpointSigned, DeliveryCertified }
}

/// The audit service signed the state of its log, so later changes of the log can be detected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSigned {
    pub checkpoint_id: Uuid,
    pub signed_at: Timestamp,
    /// Head of the Merkle tree of each topic partition.
    pub heads: Vec<CheckpointHead>,
    /// Id of the previous checkpoint; `None` for the first.
    pub previous: Option<Uuid>,
    pub key_id: String,
    /// Ed25519 (RFC 8032) over the checkpoint's text, in Base64.
    pub signature: String,
    /// From 1.
    pub number: i64,
    /// SHA-256 of the text of the previous checkpoint, in hexadecimal; `None` for the first.
    pub previous_hash: Option<String>,
}

/// Head of one Merkle tree (RFC 6962).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    /// Entries in the tree.
    pub size: i64,
    /// In hexadecimal.
    pub root: String,
}

/// The delivery of one hour's records was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryCertified {
    pub certificate_id: Uuid,
    pub from: Timestamp,
    pub until: Timestamp,
    /// `true` if no sequence number is missing.
    pub complete: bool,
    /// Counts, one row per topic and producer.
    pub topics: Vec<CertifiedTopic>,
}

/// Counts for one topic and producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedTopic {
    /// Without prefix.
    pub topic: String,
    /// `ce_source` of the records.
    pub producer: String,
    pub messages: i64,
    /// Number of keys that have records.
    pub keys: i64,
    /// Number of missing sequence numbers.
    pub missing: i64,
    /// Some of the keys with missing sequence numbers, with the numbers.
    pub examples: Vec<String>,
}

/// Find entries of the audit log; a `None` field does not restrict the search.
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
    /// Cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries per page.
    pub limit: i32,
}

/// Prove that an entry is in the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveAuditEntry {
    /// Id of the entry, in the form `topic-partition-offset`.
    pub entry_id: String,
    /// Checkpoint that the proof leads to; `None`: the newest.
    pub checkpoint_id: Option<Uuid>,
}

/// Find signed checkpoints, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindCheckpoints {
    /// Cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of rows per page.
    pub limit: i32,
}

/// Find delivery certificates, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindCertificates {
    /// Cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<String>,
    /// Maximum number of rows per page.
    pub limit: i32,
}

/// Compare the audit log with its hashes, Merkle trees and checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyAuditLog {
    /// Without prefix; `None`: all topics.
    pub topic: Option<String>,
    /// Cursor that the previous reply returned; `None`: from the start.
    pub cursor: Option<String>,
}

/// Read the entries of one topic partition in order, for an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadAuditLog {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    /// Index of the first entry in the Merkle tree, from 0.
    pub from: i64,
    pub limit: i32,
}
