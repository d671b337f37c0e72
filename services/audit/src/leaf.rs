//! Leaves: what an entry asserts, as the one text whose hash is in the tree. Pure.

use messaging::Headers;
use mongodb::bson::Binary;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::entry::{Entry, hex};
use crate::merkle::{self, Hash};

/// The fields in the order of the text; the README says what each is. Never changed: another form is another `v`.
#[derive(Serialize)]
struct Leaf<'a> {
    v: u8,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    recorded_at: i64,
    key: Option<String>,
    foreign_key: Option<&'a str>,
    headers: &'a Headers,
    sha256: Option<String>,
    kept: bool,
    content_sha256: Option<String>,
}

/// The text: JSON without white space.
pub fn text(entry: &Entry) -> String {
    let key = entry.key.filter(|_| entry.foreign_key.is_none());
    let leaf = Leaf {
        v: 1,
        topic: &entry.place.topic,
        partition: entry.place.partition,
        offset: entry.place.offset,
        timestamp: entry.timestamp,
        recorded_at: entry.recorded_at.timestamp_millis(),
        key: key.map(|key| mongo::from_bson(key).to_string()),
        foreign_key: entry.foreign_key.as_deref(),
        headers: &entry.headers,
        sha256: entry.sha256.as_ref().map(|Binary { bytes, .. }| hex(bytes)),
        kept: entry.value.is_some(),
        content_sha256: entry.content.as_deref().map(|content| hex(Sha256::digest(content))),
    };
    serde_json::to_string(&leaf).expect("texts and numbers are always JSON")
}

/// What the tree holds of it.
pub fn hash(entry: &Entry) -> Hash {
    merkle::leaf_hash(text(entry).as_bytes())
}
