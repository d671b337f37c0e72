//! Entries against the leaves of their tree, and the tree's tiles against each other.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use messaging::ledger::StoreErrorKind;
use mongo::{Tx, store_error};
use mongodb::bson::{self, Document, doc};
use sha2::{Digest, Sha256};

use super::{Report, Unanswered};
use crate::entry::Entry;
use crate::leaf;
use crate::merkle::{self, Hash, TileId, WIDTH};
use crate::store::ENTRIES;
use crate::tree::{StoredTile, Tree, TreeId};

/// Leaves that are looked at together.
pub(super) const STEP: i64 = 1024;

/// Verifies the leaves from `from` on. Answers where to go on.
pub(super) async fn verify(
    tx: &mut Tx,
    id: &TreeId,
    from: i64,
    report: &mut Report,
) -> Result<Option<i64>, Unanswered> {
    let tree = match Tree::read(tx, id.clone()).await {
        Ok(tree) => tree,
        Err(error) if error.kind == StoreErrorKind::Unexpected => {
            report.wrong("altered-tree", id, "what is stored of its edge is none");
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

/// The tiles of these leaves. Every full tile that ends among them is compared with its parent.
async fn tiles(
    tx: &mut Tx,
    tree: &Tree,
    from: i64,
    until: i64,
    report: &mut Report,
) -> Result<HashMap<TileId, StoredTile>, Unanswered> {
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
        let place = format!("{} row {} tile {}", tree.id, id.row, id.index);
        let Some(tile) = known.get(&id) else {
            report.wrong("missing-tile", place, "a full tile is not in the store, or is none");
            continue;
        };
        let parent = id.parent();
        let in_parent = match known.get(&parent) {
            Some(parent) => parent.hashes.get(id.place_in_parent()).copied(),
            None => edge(tree, parent, id.place_in_parent()),
        };
        if in_parent != Some(merkle::tile_root(&tile.hashes)) {
            report.wrong("altered-tile", place, "its root is not what the tree has above it");
        }
    }
    Ok(known)
}

/// A hash of the tree's edge, where that is the tile.
fn edge(tree: &Tree, tile: TileId, place: usize) -> Option<Hash> {
    let is_edge = tree.edge.size() / TileId::span(tile.row) == tile.index;
    let row = tree.edge.rows().get(tile.row as usize).filter(|_| is_edge)?;
    row.get(place).copied()
}

/// Leaves from one up to another.
struct Leaves<'a> {
    tree: &'a Tree,
    tiles: &'a HashMap<TileId, StoredTile>,
    from: i64,
    until: i64,
}

impl Leaves<'_> {
    /// By index, what the tree holds; `None` where its tile is missing.
    fn hash(&self, index: i64) -> Option<Hash> {
        let (tile, place) = self.tile(index);
        match self.tiles.get(&tile) {
            Some(tile) => Some(tile.hashes[place]),
            None => edge(self.tree, tile, place),
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

    /// The offset of the first entry of a tile, as the tree has it.
    fn first_offset(&self, index: i64) -> Option<i64> {
        let (tile, _) = self.tile(index);
        match self.tiles.get(&tile) {
            Some(tile) => tile.first,
            None => Some(self.tree.edge_offset),
        }
    }

    async fn verify(&self, tx: &mut Tx, report: &mut Report) -> Result<(), Unanswered> {
        let is_last = self.until == self.tree.size();
        let begin = match self.from {
            0 => Some(-1),
            from => self.first_offset(from),
        };
        let end = match is_last {
            true => Some(i64::MAX),
            false => self.tree.offset_near(tx, self.until).await?,
        };
        let (Some(begin), Some(end)) = (begin, end) else {
            let place = format!("{} leaf {}", self.tree.id, self.from);
            report.wrong("missing-tile", place, "without it, the entries are not found");
            return Ok(());
        };
        let mut seen = BTreeSet::new();
        // Of entries that are in no tree, a step's worth is named.
        let entries = tx.collection::<Document>(ENTRIES);
        let found = entries
            .find(doc! { "_id": { "$gte": self.tree.id.place(begin), "$lt": self.tree.id.place(end) } })
            .sort(doc! { "_id": 1 })
            .limit(2 * STEP)
            .session(tx.session());
        let mut found = found.await.map_err(store_error)?;
        let mut found = found.stream(tx.session());
        let mut newest = None;
        while let Some(document) = found.try_next().await.map_err(store_error)? {
            report.checked.entries += 1;
            let place = place(&document);
            let Ok(entry) = bson::deserialize_from_document::<Entry>(document) else {
                report.wrong("altered-entry", place, "it is none any more");
                continue;
            };
            let index = entry.index.filter(|index| (self.from..self.until).contains(index));
            let Some(index) = index else {
                report.wrong("unlisted-entry", place, "the tree has no leaf for it");
                continue;
            };
            newest = Some(entry.place.offset);
            if seen.last().is_some_and(|last| index <= *last) {
                report.wrong(
                    "altered-entry",
                    place.clone(),
                    "its index is not in the order of offsets",
                );
            }
            let is_first_of_tile = index % WIDTH as i64 == 0;
            if is_first_of_tile && self.first_offset(index) != Some(entry.place.offset) {
                report.wrong(
                    "altered-tile",
                    place.clone(),
                    "the tree has another entry's offset for it",
                );
            }
            if let Some(what) = self.wrong(index, &entry) {
                report.wrong("altered-entry", place, what);
            }
            seen.insert(index);
        }
        for index in (self.from..self.until).filter(|index| !seen.contains(index)) {
            let place = format!("{} leaf {index}", self.tree.id);
            report.wrong("missing-entry", place, "the tree has a leaf, and the log no entry");
        }
        if is_last && newest.is_some_and(|newest| newest != self.tree.last_offset) {
            report.wrong("altered-tree", &self.tree.id, "its newest entry is another one");
        }
        Ok(())
    }

    fn wrong(&self, index: i64, entry: &Entry) -> Option<&'static str> {
        let hash = leaf::hash(entry);
        let value = entry.value.as_ref().map(|value| Sha256::digest(&value.bytes).to_vec());
        if self.hash(index) != Some(hash) {
            return Some("what it asserts is not what the tree has");
        }
        if entry.leaf_hash.as_ref().map(|hash| hash.bytes.as_slice()) != Some(&hash) {
            return Some("its leaf hash is not that of what it asserts");
        }
        if value.is_some() && value.as_deref() != entry.sha256.as_ref().map(|hash| hash.bytes.as_slice()) {
            return Some("its bytes are not those that were hashed");
        }
        (!entry.follows_from_its_headers()).then_some("it can be found by what its headers do not say")
    }
}

/// Names an entry, however little is left of it.
fn place(document: &Document) -> String {
    let id = document.get_document("_id").cloned().unwrap_or_default();
    let topic = id.get_str("topic").unwrap_or("?");
    let number = |name| id.get(name).map(ToString::to_string).unwrap_or_default();
    format!("{topic}-{}-{}", number("partition"), number("offset"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_whole_tiles() {
        assert_eq!(STEP % WIDTH as i64, 0);
    }
}
