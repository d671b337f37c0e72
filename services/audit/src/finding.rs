//! Findings: what is strange about a record. They are kept, never errors: the log takes what comes.

use mongodb::bson;
use serde::{Deserialize, Serialize};

use crate::entry::Place;

/// One observation about one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(rename = "_id")]
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<i64>,
    /// One sentence for people, without content of the record.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A number that its key had before, under the same id: a relay sent it twice. Normal after a crash.
    Duplicate,
    /// A number that its key had before, under another id: its producer was restored from a backup.
    Fork,
    /// Numbers before this one have not been seen.
    Gap,
    /// A number that was missing.
    Late,
    /// A domain event without a number.
    Unnumbered,
    /// The record names a schema that the registry does not know.
    UnknownSchema,
    /// The value can't be read.
    Undecodable,
    /// The value is of another type than the envelope says.
    WrongType,
    /// Headers or key are not what every message has.
    MalformedEnvelope,
    /// The store refuses the record, or its key and headers are too large: only a part of it is kept, which says why.
    Refused,
    /// Another record was at this place before, or none when the log went past it: the topic was made anew, or tampered
    /// with. The log stays as it is.
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
        place: Place,
        kind: FindingKind,
        key: Option<bson::Uuid>,
        sequence: Option<i64>,
        detail: String,
    ) -> Self {
        let Place {
            topic,
            partition,
            offset,
        } = place;
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
