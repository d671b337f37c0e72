//! The collections of this service, and their indexes.

use anyhow::{Context, ensure};
use messaging::ledger::StoreError;
use mongo::{Mongo, index};
use mongodb::IndexModel;
use mongodb::bson::doc;
use mongodb::options::IndexOptions;

/// The log: a document a record.
pub const ENTRIES: &str = "entries";
/// What is strange about records.
pub const FINDINGS: &str = "findings";
/// Which numbers were seen, a document a key of a domain-event topic.
pub const STREAMS: &str = "streams";
/// How far each Merkle tree has grown, with its edge: a document a topic partition.
pub const TREES: &str = "trees";
/// The trees' full tiles.
pub const TILES: &str = "tiles";
/// Signed checkpoints, by number.
pub const CHECKPOINTS: &str = "checkpoints";
/// The private key, where none is configured: one document.
pub const SIGNING_KEY: &str = "signing_key";
/// Delivery certificates, by hour and revision.
pub const CERTIFICATES: &str = "certificates";
/// Until when hours are certified: one document.
pub const CERTIFIED: &str = "certified";

fn collections() -> Vec<(&'static str, Vec<IndexModel>)> {
    // A page is the newest first; the place tells entries of the same moment apart.
    let by = |field: &str| index(doc! { field: 1, "time": -1, "_id": -1 }, false);
    let entries = vec![
        by("key"),
        by("correlation_id"),
        by("actor"),
        by("type"),
        index(doc! { "time": -1, "_id": -1 }, false),
    ];
    vec![
        (ENTRIES, entries),
        (
            FINDINGS,
            vec![
                index(doc! { "found_at": 1 }, false),
                index(doc! { "_id.kind": 1, "found_at": 1 }, false),
            ],
        ),
        (STREAMS, vec![with_gaps()]),
        (TREES, vec![]),
        (TILES, vec![]),
        (CHECKPOINTS, vec![index(doc! { "id": 1 }, true)]),
        (SIGNING_KEY, vec![]),
        (CERTIFIED, vec![]),
        (CERTIFICATES, vec![index(doc! { "id": 1 }, true)]),
    ]
}

/// Finds the few keys that miss numbers.
fn with_gaps() -> IndexModel {
    let some = doc! { "missing.0": { "$exists": true } };
    let options = IndexOptions::builder().partial_filter_expression(some).build();
    IndexModel::builder()
        .keys(doc! { "_id.topic": 1 })
        .options(options)
        .build()
}

/// Makes what is not there. May be repeated.
pub async fn prepare(mongo: &Mongo) -> Result<(), StoreError> {
    mongo.prepare().await?;
    for (name, indexes) in collections() {
        mongo.prepare_collection(name, indexes).await?;
    }
    Ok(())
}

/// Whether [`prepare`] was run by this version.
pub async fn check(mongo: &Mongo) -> anyhow::Result<()> {
    let there = mongo
        .database()
        .list_collection_names()
        .await
        .context("the store does not answer")?;
    for (name, _) in collections() {
        ensure!(
            there.iter().any(|known| known == name),
            "the collection {name} is missing: run `audit migrate` first"
        );
    }
    Ok(())
}
