//! Proves that an entry is in the log. The proof convinces everyone who trusts the key of a checkpoint.

use contracts::{CheckpointHead, ProveAuditEntry, Rejection};
use mongo::{Tx, store_error};
use mongodb::bson::doc;
use serde_json::{Value as Json, json};

use super::{MAX_RESULT_BYTES, QueryError, all_valid, checkpoints, damaged, entries, invalid};
use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, RecordPosition, hex};
use crate::notary::{StoredCheckpoint, newest};
use crate::store::ENTRIES;
use crate::tree::{Tree, TreeId};
use crate::{leaf, merkle};

pub(super) async fn prove(tx: &mut Tx, query: &ProveAuditEntry) -> Result<String, QueryError> {
    let position = RecordPosition::parse(&query.entry_id);
    let Some(position) = position.filter(|position| position.to_string() == query.entry_id) else {
        let wrong = invalid("entry_id", "must be the id of an entry: topic-partition-offset");
        all_valid(vec![wrong])?;
        return Err(damaged());
    };
    let id = TreeId::new(&position.topic, position.partition);
    let entry = tx.collection::<Entry>(ENTRIES);
    let entry = entry
        .find_one(doc! { "_id": id.entry_id(position.offset) })
        .session(tx.session());
    let Some(entry) = entry.await.map_err(store_error)? else {
        return Err(Rejection::new("entry-unknown", "No audit entry has this id. Check the entry id.").into());
    };
    let newest = newest(tx).await?;
    let signed = match query.checkpoint_id {
        None => newest.clone(),
        Some(id) => {
            let signed = checkpoints::by_id(tx, id).await?;
            let unknown = || {
                Rejection::new(
                    "checkpoint-unknown",
                    "No checkpoint has this id. Check the checkpoint id.",
                )
            };
            Some(signed.ok_or_else(unknown)?)
        }
    };
    let (Some(newest), Some(signed)) = (newest, signed) else {
        return Err(not_included());
    };
    let head = head(&signed, &id)?.ok_or_else(not_included)?;
    let index = entry
        .index
        .filter(|index| *index < head.size)
        .ok_or_else(not_included)?;
    let tree = Tree::read(tx, id.clone()).await?;

    let inclusion = merkle::inclusion(index as u64, head.size as u64);
    let inclusion = path(tx, &tree, &inclusion).await?;
    let consistency = if newest.number > signed.number {
        let to = self::head(&newest, &id)?.ok_or_else(damaged)?;
        let ranges = merkle::consistency(head.size as u64, to.size as u64);
        json!({
            "from_size": head.size,
            "size": to.size,
            "root": to.root,
            "path": path(tx, &tree, &ranges).await?,
            "checkpoint": checkpoints::to_json(&newest),
        })
    } else {
        Json::Null
    };
    let leaf = leaf::text(&entry);
    let mut proof = json!({
        "entry": entries::to_json(&entry, true),
        "leaf_hash": hex(merkle::leaf_hash(leaf.as_bytes())),
        "leaf": leaf,
        "inclusion": { "index": index, "size": head.size, "root": head.root, "path": inclusion },
        "checkpoint": checkpoints::to_json(&signed),
        "consistency": consistency,
    });
    if proof.to_string().len() > MAX_RESULT_BYTES {
        proof["entry"] = entries::to_json(&entry, false);
    }
    Ok(proof.to_string())
}

fn not_included() -> QueryError {
    Rejection::new(
        "not-checkpointed",
        "The checkpoint does not include this entry. Use a later checkpoint. A new one is signed shortly after an entry is \
         recorded.",
    )
    .into()
}

/// Returns the head of a tree in a checkpoint, if it has one.
fn head(signed: &StoredCheckpoint, id: &TreeId) -> Result<Option<CheckpointHead>, QueryError> {
    let checkpoint = Checkpoint::parse(&signed.text).ok_or_else(damaged)?;
    Ok(checkpoint.head(&id.topic, id.partition).cloned())
}

async fn path(tx: &mut Tx, tree: &Tree, ranges: &[merkle::Range]) -> Result<Vec<String>, QueryError> {
    let roots = tree.ranges(tx, ranges).await?.ok_or_else(damaged)?;
    Ok(roots.into_iter().map(hex).collect())
}
