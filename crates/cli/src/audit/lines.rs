//! An export of the audit log: one JSON object a line. The format is the audit service's README's.

use serde::{Deserialize, Serialize};

/// Of the first line. Another form is another number.
pub(super) const FORMAT: u32 = 1;

/// First the format, then the keys, the checkpoints from the first on, and the entries, tree by tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Line {
    Export {
        format: u32,
    },
    /// Ed25519, in Base64.
    Key {
        key_id: String,
        public_key: String,
    },
    /// The signed text, and the signature in Base64.
    Checkpoint {
        text: String,
        signature: String,
    },
    Entry {
        topic: String,
        partition: i32,
        index: u64,
        /// What is hashed.
        leaf: Option<String>,
        leaf_hash: Option<String>,
        /// The value as JSON text; its hash is in the leaf.
        content: Option<String>,
        /// The value's bytes in Base64; their hash is in the leaf.
        value: Option<String>,
    },
}

impl Line {
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a line is plain data")
    }

    /// Reads what [`text`](Self::text) wrote, byte by byte, and nothing else.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(text).ok()?;
        (line.text().as_bytes() == text).then_some(line)
    }
}
