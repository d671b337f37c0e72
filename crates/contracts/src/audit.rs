//! The audit log: what it says of itself (the topic `audit`), and questions to it (`audit.queries`). The answer is a [`CommandAccepted`](crate::CommandAccepted)
//! whose `result` is JSON.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Timestamp, message::topic};

topic! {
    /// A question to the audit log.
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
    /// What the audit log says of itself.
    pub AuditFact on AUDIT in "audit" as "rollcall.audit" { CheckpointSigned, DeliveryCertified }
}

/// The audit log stood so; whoever trusts the key can hold it to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSigned {
    pub checkpoint_id: Uuid,
    pub signed_at: Timestamp,
    /// Of each topic partition's Merkle tree.
    pub heads: Vec<CheckpointHead>,
    /// The checkpoint before; `None` for the first.
    pub previous: Option<Uuid>,
    pub key_id: String,
    /// Ed25519 (RFC 8032) over the checkpoint's text, in Base64.
    pub signature: String,
    /// From 1.
    pub number: i64,
    /// SHA-256 of the text of the checkpoint before, in hexadecimal; `None` for the first.
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

/// What one hour's records say about delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryCertified {
    pub certificate_id: Uuid,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Whether no sequence misses a number.
    pub complete: bool,
    /// A row a topic and producer.
    pub topics: Vec<CertifiedTopic>,
}

/// Records of one topic and producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedTopic {
    /// Without prefix.
    pub topic: String,
    /// `ce_source` of the records.
    pub producer: String,
    pub messages: i64,
    /// Keys that have records.
    pub keys: i64,
    /// Sequence numbers that are missing.
    pub missing: i64,
    /// Some of the keys that miss numbers, with the numbers.
    pub examples: Vec<String>,
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

/// Prove that an entry is in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProveAuditEntry {
    /// Place of the entry, as `topic-partition-offset`.
    pub entry_id: String,
    /// The checkpoint to prove it to; `None`: the newest.
    pub checkpoint_id: Option<Uuid>,
}

/// Find signed checkpoints, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindCheckpoints {
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Rows a page holds at most.
    pub limit: i32,
}

/// Find delivery certificates, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindCertificates {
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Rows a page holds at most.
    pub limit: i32,
}

/// Compare the log with its hashes, trees and checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyAuditLog {
    /// Without prefix; `None`: all.
    pub topic: Option<String>,
    /// Where the previous answer ended; `None`: from the start.
    pub cursor: Option<String>,
}

/// Read the entries of one topic partition in order, for an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadAuditLog {
    /// Without prefix.
    pub topic: String,
    pub partition: i32,
    /// Number of the first entry in the tree, from 0.
    pub from: i64,
    pub limit: i32,
}
