//! Adds entries of a version without trees to their trees. `audit migrate` runs it, and may be repeated.

use futures::TryStreamExt;
use messaging::ledger::{CommitError, StoreError, Transactions as _};
use mongo::{Mongo, Tx, Update, store_error};
use mongodb::bson::doc;

use crate::entry::Entry;
use crate::recorded;
use crate::store::ENTRIES;
use crate::tree::{Growth, Tree, TreeId};

/// Maximum number of entries in one transaction.
const STEP: usize = 1_000;

/// Adds every entry that is in no tree to the tree of its partition, in offset order. Returns the number of entries.
///
/// Processes that record such a partition wait until the migration is complete.
pub async fn grow_trees(mongo: &Mongo) -> Result<u64, StoreError> {
    let mut grown = 0;
    for topic in recorded() {
        for partition in 0..topic.partitions {
            loop {
                let added = step(mongo, TreeId::new(topic.name, partition)).await?;
                grown += added as u64;
                if added < STEP {
                    break;
                }
                tracing::info!(
                    topic = topic.name,
                    partition,
                    grown,
                    "adding old entries to their trees"
                );
            }
        }
    }
    Ok(grown)
}

async fn step(mongo: &Mongo, id: TreeId) -> Result<usize, StoreError> {
    let mut tx = mongo.begin().await?;
    let mut tree = Tree::read(&mut tx, id).await?;
    let mut entries = unlisted_entries(&mut tx, &tree).await?;
    if entries.is_empty() {
        mongo.rollback(tx).await;
        return Ok(0);
    }
    let mut growth = Growth::default();
    tree.append(&mut entries, &mut growth);
    growth.write(&mut tx).await?;
    let updates = entries.iter().map(|entry| Update {
        filter: doc! { "_id": tree.id.entry_id(entry.position.offset) },
        change: doc! { "$set": { "index": entry.index, "leaf_hash": entry.leaf_hash.clone() } },
        upsert: false,
    });
    tx.update_each(ENTRIES, updates).await?;
    match mongo.commit(tx).await {
        Ok(()) => Ok(entries.len()),
        Err(CommitError::RolledBack(error) | CommitError::Unknown(error)) => Err(error),
    }
}

/// Returns the first entries that are not in the tree.
async fn unlisted_entries(tx: &mut Tx, tree: &Tree) -> Result<Vec<Entry>, StoreError> {
    let mut entries = tx
        .collection::<Entry>(ENTRIES)
        .find(doc! { "_id": { "$gt": tree.id.entry_id(tree.last_offset), "$lt": tree.id.entry_id(i64::MAX) } })
        .sort(doc! { "_id": 1 })
        .limit(STEP as i64)
        .batch_size(STEP as u32 + 1)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    entries.stream(tx.session()).try_collect().await.map_err(store_error)
}
