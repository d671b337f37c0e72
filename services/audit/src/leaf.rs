//! Leaves: the canonical text of an entry, whose hash is in the tree. Pure.

use messaging::Headers;
use mongodb::bson::Binary;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::entry::{Entry, hex};
use crate::merkle::{self, Hash};

/// The fields in the order of the text; the README describes each. They never change: a different form gets a different `v`.
#[derive(Serialize)]
struct Leaf<'a> {
    v: u8,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    recorded_at: i64,
    key: Option<String>,
    #[serde(rename = "foreign_key")]
    noncanonical_key: Option<&'a str>,
    headers: &'a Headers,
    sha256: Option<String>,
    kept: bool,
    content_sha256: Option<String>,
}

/// Returns the text of the leaf, which is JSON without white space.
pub fn text(entry: &Entry) -> String {
    let key = entry.key.filter(|_| entry.noncanonical_key.is_none());
    let leaf = Leaf {
        v: 1,
        topic: &entry.position.topic,
        partition: entry.position.partition,
        offset: entry.position.offset,
        timestamp: entry.timestamp,
        recorded_at: entry.recorded_at.timestamp_millis(),
        key: key.map(|key| mongo::from_bson(key).to_string()),
        noncanonical_key: entry.noncanonical_key.as_deref(),
        headers: &entry.headers,
        sha256: entry.sha256.as_ref().map(|Binary { bytes, .. }| hex(bytes)),
        kept: entry.value.is_some(),
        content_sha256: entry.content.as_deref().map(|content| hex(Sha256::digest(content))),
    };
    serde_json::to_string(&leaf).expect("strings and numbers are always JSON")
}

/// Returns the hash of the leaf, as it is stored in the tree.
pub fn hash(entry: &Entry) -> Hash {
    merkle::leaf_hash(text(entry).as_bytes())
}
