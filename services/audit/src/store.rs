//! The collections of this service and their indexes.

use mongo::{Schema, index, partial_index};
use mongodb::bson::doc;

/// The log: one document for each record.
pub const ENTRIES: &str = "entries";
/// Findings: anomalies of records.
pub const FINDINGS: &str = "findings";
/// The sequence numbers that were seen: one document for each key of a domain-event topic.
pub const STREAMS: &str = "streams";
/// The size and the edge of each Merkle tree: one document for each topic partition.
pub const TREES: &str = "trees";
/// The full tiles of the trees.
pub const TILES: &str = "tiles";
/// Signed checkpoints, by number.
pub const CHECKPOINTS: &str = "checkpoints";
/// The private key, if none is configured: one document.
pub const SIGNING_KEY: &str = "signing_key";
/// Delivery certificates, by hour and revision.
pub const CERTIFICATES: &str = "certificates";
/// The time up to which hours are certified: one document.
pub const CERTIFIED: &str = "certified";

/// Returns all collections of this service with their indexes.
pub fn schema() -> Schema {
    // Pages list the newest entries first; the position orders entries of the same time.
    let by = |field: &str| index(doc! { field: 1, "time": -1, "_id": -1 }, false);
    let entries = vec![
        by("key"),
        by("correlation_id"),
        by("actor"),
        by("type"),
        index(doc! { "time": -1, "_id": -1 }, false),
    ];
    // Finds the few keys with missing sequence numbers.
    let gaps = partial_index(doc! { "_id.topic": 1 }, doc! { "missing.0": { "$exists": true } });
    let collections = vec![
        (ENTRIES, entries),
        (
            FINDINGS,
            vec![
                index(doc! { "found_at": 1 }, false),
                index(doc! { "_id.kind": 1, "found_at": 1 }, false),
            ],
        ),
        (STREAMS, vec![gaps]),
        (TREES, vec![]),
        (TILES, vec![]),
        (CHECKPOINTS, vec![index(doc! { "id": 1 }, true)]),
        (SIGNING_KEY, vec![]),
        (CERTIFIED, vec![]),
        (CERTIFICATES, vec![index(doc! { "id": 1 }, true)]),
    ];
    Schema {
        service: env!("CARGO_PKG_NAME"),
        collections,
    }
}
