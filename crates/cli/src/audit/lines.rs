//! Lines of an audit log export: one JSON object per line. The audit service's README defines the format.

use serde::{Deserialize, Serialize};

/// Format version in the first line. Every change of the format increments it.
pub(super) const FORMAT: u32 = 1;

/// A line of an export. The order is: the format, the keys, the checkpoints (oldest first), the entries (tree by tree).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    Export {
        format: u32,
    },
    /// An Ed25519 public key in Base64.
    Key {
        key_id: String,
        public_key: String,
    },
    /// The signed text, and its signature in Base64.
    Checkpoint {
        text: String,
        signature: String,
    },
    Entry {
        topic: String,
        partition: i32,
        index: u64,
        /// Text that is hashed.
        leaf: Option<String>,
        leaf_hash: Option<String>,
        /// The value as JSON text. The leaf contains its hash.
        content: Option<String>,
        /// The bytes of the value in Base64. The leaf contains their hash.
        value: Option<String>,
    },
}

impl Line {
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a line is plain data")
    }

    /// Parses a line. Returns `None` unless the bytes are exactly those that [`text`](Self::text) writes.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(text).ok()?;
        (line.text().as_bytes() == text).then_some(line)
    }
}
