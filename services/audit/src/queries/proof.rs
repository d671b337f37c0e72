//! Proves that an entry is in the log, to whoever trusts the key of a checkpoint.

use contracts::{CheckpointHead, ProveAuditEntry, Rejection};
use mongo::{Tx, store_error};
use mongodb::bson::doc;
use serde_json::{Value as Json, json};

use super::{ROOM, Unanswered, all_valid, checkpoints, damaged, entries, invalid};
use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, Place, hex};
use crate::notary::{Signed, newest};
use crate::store::ENTRIES;
use crate::tree::{Tree, TreeId};
use crate::{leaf, merkle};

pub(super) async fn prove(tx: &mut Tx, question: &ProveAuditEntry) -> Result<String, Unanswered> {
    let place = Place::parse(&question.entry_id);
    let Some(place) = place.filter(|place| place.to_string() == question.entry_id) else {
        let wrong = invalid("entry_id", "must be the id of an entry: topic-partition-offset");
        all_valid(vec![wrong])?;
        return Err(damaged());
    };
    let id = TreeId::new(&place.topic, place.partition);
    let entry = tx.collection::<Entry>(ENTRIES);
    let entry = entry
        .find_one(doc! { "_id": id.place(place.offset) })
        .session(tx.session());
    let Some(entry) = entry.await.map_err(store_error)? else {
        return Err(Rejection::new("entry-unknown", "No entry has this id.").into());
    };
    let newest = newest(tx).await?;
    let signed = match question.checkpoint_id {
        None => newest.clone(),
        Some(id) => {
            let signed = checkpoints::by_id(tx, id).await?;
            let unknown = || Rejection::new("checkpoint-unknown", "No checkpoint has this id.");
            Some(signed.ok_or_else(unknown)?)
        }
    };
    let (Some(newest), Some(signed)) = (newest, signed) else {
        return Err(not_reached());
    };
    let head = head(&signed, &id)?.ok_or_else(not_reached)?;
    let index = entry.index.filter(|index| *index < head.size).ok_or_else(not_reached)?;
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
    if proof.to_string().len() > ROOM {
        proof["entry"] = entries::to_json(&entry, false);
    }
    Ok(proof.to_string())
}

fn not_reached() -> Unanswered {
    Rejection::new(
        "not-checkpointed",
        "The checkpoint does not reach this entry. One that does is signed soon after it was recorded.",
    )
    .into()
}

/// What a checkpoint says of a tree.
fn head(signed: &Signed, id: &TreeId) -> Result<Option<CheckpointHead>, Unanswered> {
    let said = Checkpoint::parse(&signed.text).ok_or_else(damaged)?;
    Ok(said.head(&id.topic, id.partition).cloned())
}

async fn path(tx: &mut Tx, tree: &Tree, ranges: &[merkle::Range]) -> Result<Vec<String>, Unanswered> {
    let roots = tree.ranges(tx, ranges).await?.ok_or_else(damaged)?;
    Ok(roots.into_iter().map(hex).collect())
}
