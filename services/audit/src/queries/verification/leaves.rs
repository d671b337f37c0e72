//! Verifies entries against the leaves of their tree, and the tiles of the tree against each other.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use messaging::ledger::StoreErrorKind;
use mongo::{Tx, store_error};
use mongodb::bson::{self, Document, doc};
use sha2::{Digest, Sha256};

use super::{QueryError, Report};
use crate::entry::Entry;
use crate::leaf;
use crate::merkle::{self, Hash, TileId, WIDTH};
use crate::store::ENTRIES;
use crate::tree::{StoredTile, Tree, TreeId};

/// Number of leaves that are verified in one step.
pub(super) const STEP: i64 = 1024;

/// Verifies one step of leaves from `from` on. Returns the index of the next step, or `None` if the tree is complete.
pub(super) async fn verify(
    tx: &mut Tx,
    id: &TreeId,
    from: i64,
    report: &mut Report,
) -> Result<Option<i64>, QueryError> {
    let tree = match Tree::read(tx, id.clone()).await {
        Ok(tree) => tree,
        Err(error) if error.kind == StoreErrorKind::Unexpected => {
            report.add("altered-tree", id, "the stored edge of the tree is invalid");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let until = (from + STEP).min(tree.size());
    let tiles = tiles(tx, &tree, from, until, report).await?;
    let leaves = Leaves {
        tree: &tree,
        tiles: &tiles,
        from,
        until,
    };
    leaves.verify(tx, report).await?;
    Ok((until < tree.size()).then_some(until))
}

/// Returns the tiles of these leaves. Compares every full tile that ends among them with its parent.
async fn tiles(
    tx: &mut Tx,
    tree: &Tree,
    from: i64,
    until: i64,
    report: &mut Report,
) -> Result<HashMap<TileId, StoredTile>, QueryError> {
    let (from, until) = (from as u64, until.max(from) as u64);
    let ending = |row| {
        let span = TileId::span(row);
        (from / span..until / span).map(move |index| TileId { row, index })
    };
    let rows = (0..).take_while(|row| TileId::span(*row) <= until);
    let ids: Vec<_> = rows.flat_map(ending).collect();
    let parents = ids.iter().map(|id| id.parent());
    let known = tree.tiles(tx, ids.iter().copied().chain(parents)).await?;
    for id in ids {
        report.checked.tiles += 1;
        let location = format!("{} row {} tile {}", tree.id, id.row, id.index);
        let Some(tile) = known.get(&id) else {
            report.add(
                "missing-tile",
                location,
                "a full tile is missing in the store or invalid",
            );
            continue;
        };
        let parent = id.parent();
        let in_parent = match known.get(&parent) {
            Some(parent) => parent.hashes.get(id.slot_in_parent()).copied(),
            None => edge(tree, parent, id.slot_in_parent()),
        };
        if in_parent != Some(merkle::tile_root(&tile.hashes)) {
            report.add(
                "altered-tile",
                location,
                "the root of the tile differs from its hash in the parent tile",
            );
        }
    }
    Ok(known)
}

/// Returns a hash of the tree's edge, if the tile is part of the edge.
fn edge(tree: &Tree, tile: TileId, slot: usize) -> Option<Hash> {
    let is_edge = tree.edge.size() / TileId::span(tile.row) == tile.index;
    let row = tree.edge.rows().get(tile.row as usize).filter(|_| is_edge)?;
    row.get(slot).copied()
}

/// A range of leaves, and the tiles that they need.
struct Leaves<'a> {
    tree: &'a Tree,
    tiles: &'a HashMap<TileId, StoredTile>,
    from: i64,
    until: i64,
}

impl Leaves<'_> {
    /// Returns the hash of a leaf in the tree, or `None` if its tile is missing.
    fn hash(&self, index: i64) -> Option<Hash> {
        let (tile, slot) = self.tile(index);
        match self.tiles.get(&tile) {
            Some(tile) => Some(tile.hashes[slot]),
            None => edge(self.tree, tile, slot),
        }
    }

    fn tile(&self, index: i64) -> (TileId, usize) {
        let (index, width) = (index as u64, WIDTH as u64);
        let tile = TileId {
            row: 0,
            index: index / width,
        };
        (tile, (index % width) as usize)
    }

    /// Returns the offset of the first entry of a leaf's tile, as the tree has it.
    fn first_offset(&self, index: i64) -> Option<i64> {
        let (tile, _) = self.tile(index);
        match self.tiles.get(&tile) {
            Some(tile) => tile.first,
            None => Some(self.tree.edge_offset),
        }
    }

    async fn verify(&self, tx: &mut Tx, report: &mut Report) -> Result<(), QueryError> {
        let is_last = self.until == self.tree.size();
        let begin = match self.from {
            0 => Some(-1),
            from => self.first_offset(from),
        };
        let end = if is_last {
            Some(i64::MAX)
        } else {
            self.tree.offset_near(tx, self.until).await?
        };
        let (Some(begin), Some(end)) = (begin, end) else {
            let location = format!("{} leaf {}", self.tree.id, self.from);
            report.add(
                "missing-tile",
                location,
                "the entries cannot be located without this tile",
            );
            return Ok(());
        };
        let mut seen = BTreeSet::new();
        // At most one step's number of entries that are in no tree is reported.
        let entries = tx.collection::<Document>(ENTRIES);
        let found = entries
            .find(doc! { "_id": { "$gte": self.tree.id.entry_id(begin), "$lt": self.tree.id.entry_id(end) } })
            .sort(doc! { "_id": 1 })
            .limit(2 * STEP)
            .session(tx.session());
        let mut found = found.await.map_err(store_error)?;
        let mut found = found.stream(tx.session());
        let mut newest = None;
        while let Some(document) = found.try_next().await.map_err(store_error)? {
            report.checked.entries += 1;
            let location = location(&document);
            let Ok(entry) = bson::deserialize_from_document::<Entry>(document) else {
                report.add("altered-entry", location, "the document is not a valid entry");
                continue;
            };
            let index = entry.index.filter(|index| (self.from..self.until).contains(index));
            let Some(index) = index else {
                report.add("unlisted-entry", location, "the tree has no leaf for this entry");
                continue;
            };
            newest = Some(entry.position.offset);
            if seen.last().is_some_and(|last| index <= *last) {
                report.add(
                    "altered-entry",
                    location.clone(),
                    "the index does not follow the offset order",
                );
            }
            let is_first_of_tile = index % WIDTH as i64 == 0;
            if is_first_of_tile && self.first_offset(index) != Some(entry.position.offset) {
                report.add(
                    "altered-tile",
                    location.clone(),
                    "the tile has a different offset for its first entry",
                );
            }
            if let Some(detail) = self.discrepancy(index, &entry) {
                report.add("altered-entry", location, detail);
            }
            seen.insert(index);
        }
        for index in (self.from..self.until).filter(|index| !seen.contains(index)) {
            let location = format!("{} leaf {index}", self.tree.id);
            report.add(
                "missing-entry",
                location,
                "the tree has a leaf, but the log has no entry for it",
            );
        }
        if is_last && newest.is_some_and(|newest| newest != self.tree.last_offset) {
            report.add("altered-tree", &self.tree.id, "the tree names a different newest entry");
        }
        Ok(())
    }

    /// Returns how an entry differs from its leaf or from itself, if it does.
    fn discrepancy(&self, index: i64, entry: &Entry) -> Option<&'static str> {
        let hash = leaf::hash(entry);
        let value = entry.value.as_ref().map(|value| Sha256::digest(&value.bytes).to_vec());
        if self.hash(index) != Some(hash) {
            return Some("the leaf of the entry is not the one in the tree");
        }
        if entry.leaf_hash.as_ref().map(|hash| hash.bytes.as_slice()) != Some(&hash) {
            return Some("the leaf hash of the entry is not the hash of its leaf");
        }
        if value.is_some() && value.as_deref() != entry.sha256.as_ref().map(|hash| hash.bytes.as_slice()) {
            return Some("the value does not match its SHA-256");
        }
        (!entry.matches_its_headers()).then_some("a searchable field does not match the headers")
    }
}

/// Returns the name of an entry, even if the document is damaged.
fn location(document: &Document) -> String {
    let id = document.get_document("_id").cloned().unwrap_or_default();
    let topic = id.get_str("topic").unwrap_or("?");
    let number = |name| id.get(name).map(ToString::to_string).unwrap_or_default();
    format!("{topic}-{}-{}", number("partition"), number("offset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_consists_of_whole_tiles() {
        assert_eq!(STEP % WIDTH as i64, 0);
    }
}
