//! Findings: anomalies of records. They are stored and are never errors, because the log records every record.

use mongodb::bson;
use serde::{Deserialize, Serialize};

use crate::entry::RecordPosition;

/// One anomaly of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(rename = "_id")]
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    /// Explanation for operators, without content of the record.
    detail: String,
    found_at: bson::DateTime,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Id {
    topic: String,
    partition: i32,
    offset: i64,
    kind: FindingKind,
}

/// The kind of an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The sequence number was recorded before under the same id, because a relay sent the message twice. Normal after a crash.
    Duplicate,
    /// The sequence number was recorded before under another id, because the producer was restored from a backup.
    Fork,
    /// Sequence numbers before this one have not been recorded.
    Gap,
    /// The sequence number had been missing.
    Late,
    /// A domain event without a key or a sequence number.
    Unnumbered,
    /// The record names a schema that the registry does not know.
    UnknownSchema,
    /// The value cannot be decoded.
    Undecodable,
    /// The value has another type than the envelope names.
    WrongType,
    /// The headers or the key do not form a valid envelope.
    MalformedEnvelope,
    /// The store rejects the record, or its key and headers are too large. Only a part of it is kept, which contains the
    /// reason.
    Refused,
    /// Another record was recorded at this position before, or the log had passed the position without a record. The topic was
    /// recreated or tampered with. The log is not changed.
    Rewritten,
}

impl FindingKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Fork => "fork",
            Self::Gap => "gap",
            Self::Late => "late",
            Self::Unnumbered => "unnumbered",
            Self::UnknownSchema => "unknown-schema",
            Self::Undecodable => "undecodable",
            Self::WrongType => "wrong-type",
            Self::MalformedEnvelope => "malformed-envelope",
            Self::Refused => "refused",
            Self::Rewritten => "rewritten",
        }
    }
}

impl Finding {
    pub(crate) fn new(
        position: RecordPosition,
        kind: FindingKind,
        key: Option<bson::Uuid>,
        sequence: Option<i64>,
        detail: String,
    ) -> Self {
        let RecordPosition {
            topic,
            partition,
            offset,
        } = position;
        Self {
            id: Id {
                topic,
                partition,
                offset,
                kind,
            },
            key,
            sequence,
            detail,
            found_at: bson::DateTime::now(),
        }
    }

    pub fn kind(&self) -> FindingKind {
        self.id.kind
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}
