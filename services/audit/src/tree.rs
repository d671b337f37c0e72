//! The Merkle tree of one topic partition, as it is stored.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use messaging::ledger::{StoreError, StoreErrorKind};
use mongo::{Tx, Update, store_error};
use mongodb::bson::{self, Binary, Bson, Document, doc};
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, binary};
use crate::leaf;
use crate::merkle::{self, Edge, Hash, Nodes, Range, TileId, WIDTH};
use crate::store::{ENTRIES, TILES, TREES};

/// The id of a tree: topic (without prefix) and partition. The order of the fields is part of the `_id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TreeId {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// The state of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) id: TreeId,
    pub(crate) edge: Edge,
    /// Offset of the newest entry, or -1 if there is none.
    pub(crate) last_offset: i64,
    /// Offset of the first entry whose leaf is in the edge.
    pub(crate) edge_offset: i64,
}

/// A tree without its full tiles, as it is stored.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "_id")]
    id: TreeId,
    size: i64,
    last_offset: i64,
    edge_offset: i64,
    /// The rows of the edge, from the leaves up. Each contains its concatenated hashes.
    edge: Vec<Binary>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StoredTile {
    pub(crate) hashes: merkle::Tile,
    /// Offset of the first entry in the tile. Only in row 0.
    pub(crate) first: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct TileRow {
    #[serde(rename = "_id")]
    id: TileRowId,
    hashes: Binary,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct TileRowId {
    topic: String,
    partition: i32,
    row: u32,
    index: i64,
}

/// The reason why a tree cannot be used.
#[derive(Debug, thiserror::Error)]
enum TreeError {
    #[error("the partition {topic}-{partition} has entries that are in no tree: run `audit migrate`")]
    NotMigrated { topic: String, partition: i32 },
    #[error("the stored tree of {topic}-{partition} is invalid")]
    Corrupt { topic: String, partition: i32 },
    #[error("another process has changed a tree of this batch")]
    Conflict,
}

impl TreeId {
    pub(crate) fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }

    /// Returns the `_id` of the entry at an offset.
    pub(crate) fn entry_id(&self, offset: i64) -> Document {
        doc! { "topic": &self.topic, "partition": self.partition, "offset": offset }
    }

    fn document(&self) -> Document {
        doc! { "topic": &self.topic, "partition": self.partition }
    }

    fn error(&self, kind: StoreErrorKind, of: impl FnOnce(String, i32) -> TreeError) -> StoreError {
        StoreError::new(kind, of(self.topic.clone(), self.partition))
    }
}

impl std::fmt::Display for TreeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl Tree {
    fn empty(id: TreeId) -> Self {
        Self {
            id,
            edge: Edge::default(),
            last_offset: -1,
            edge_offset: -1,
        }
    }

    /// Returns the number of entries in the tree.
    pub(crate) fn size(&self) -> i64 {
        self.edge.size() as i64
    }

    /// Reads a tree. Returns an empty one if none is stored.
    pub(crate) async fn read(tx: &mut Tx, id: TreeId) -> Result<Self, StoreError> {
        let head = tx
            .collection::<Head>(TREES)
            .find_one(doc! { "_id": id.document() })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        head.map_or_else(|| Ok(Self::empty(id)), Self::try_from)
    }

    /// Loads a tree that entries are to be appended to.
    ///
    /// # Errors
    /// Fails if an entry of the partition is not in the tree.
    pub(crate) async fn load_for_append(tx: &mut Tx, id: TreeId) -> Result<Self, StoreError> {
        let tree = Self::read(tx, id).await?;
        let outside = doc! { "_id": { "$gt": tree.id.entry_id(tree.last_offset), "$lt": tree.id.entry_id(i64::MAX) } };
        let outside = tx
            .collection::<Document>(ENTRIES)
            .find_one(outside)
            .projection(doc! { "_id": 1 })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        match outside {
            None => Ok(tree),
            // The partition waits until the operator migrates, because a leaf cannot be inserted later.
            Some(_) => Err(tree
                .id
                .error(StoreErrorKind::Unavailable, |topic, partition| TreeError::NotMigrated {
                    topic,
                    partition,
                })),
        }
    }

    /// Reads all trees, ordered by topic and partition.
    pub(crate) async fn all(tx: &mut Tx) -> Result<Vec<Self>, StoreError> {
        let mut heads = tx
            .collection::<Head>(TREES)
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .batch_size(1_000)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let heads: Vec<Head> = heads.stream(tx.session()).try_collect().await.map_err(store_error)?;
        let mut trees: Vec<Self> = heads.into_iter().map(Self::try_from).collect::<Result<_, _>>()?;
        trees.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(trees)
    }

    /// Appends the leaves of entries, which must be in offset order, and sets their indexes and leaf hashes.
    ///
    /// [`Growth::write`] stores the result.
    pub(crate) fn append(&mut self, entries: &mut [Entry], growth: &mut Growth) {
        let size = self.size();
        for entry in entries {
            let hash = leaf::hash(entry);
            entry.index = Some(self.size());
            entry.leaf_hash = Some(binary(&hash));
            self.last_offset = entry.position.offset;
            if self.edge.size().is_multiple_of(WIDTH as u64) {
                self.edge_offset = entry.position.offset;
            }
            for (id, hashes) in self.edge.append(hash) {
                growth.tiles.push(TileRow {
                    id: TileRowId {
                        topic: self.id.topic.clone(),
                        partition: self.id.partition,
                        row: id.row,
                        index: id.index as i64,
                    },
                    hashes: binary(hashes.as_flattened()),
                    first: (id.row == 0).then_some(self.edge_offset),
                });
            }
        }
        if size == 0 {
            growth.first.push(self.head());
            return;
        }
        let mut change = bson::serialize_to_document(&self.head()).expect("a head is a document");
        change.remove("_id");
        growth.changed.push(Update {
            filter: doc! { "_id": self.id.document(), "size": size },
            change: doc! { "$set": change },
            upsert: false,
        });
    }

    fn head(&self) -> Head {
        let rows = self.edge.rows().iter().map(|row| binary(row.as_flattened()));
        Head {
            id: self.id.clone(),
            size: self.size(),
            last_offset: self.last_offset,
            edge_offset: self.edge_offset,
            edge: rows.collect(),
        }
    }

    /// Reads full tiles. Missing and invalid ones are left out.
    pub(crate) async fn tiles(
        &self,
        tx: &mut Tx,
        ids: impl IntoIterator<Item = TileId>,
    ) -> Result<HashMap<TileId, StoredTile>, StoreError> {
        let ids: Vec<_> = ids.into_iter().map(|id| Bson::from(tile_id(&self.id, id))).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut rows = tx
            .collection::<Document>(TILES)
            .find(doc! { "_id": { "$in": ids } })
            .batch_size(10_000)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let rows: Vec<Document> = rows.stream(tx.session()).try_collect().await.map_err(store_error)?;
        let tiles = rows.into_iter().filter_map(|row| {
            let row: TileRow = bson::deserialize_from_document(row).ok()?;
            let id = TileId {
                row: row.id.row,
                index: row.id.index as u64,
            };
            let hashes = hashes(&row.hashes)?.try_into().ok()?;
            Some((
                id,
                StoredTile {
                    hashes,
                    first: row.first,
                },
            ))
        });
        Ok(tiles.collect())
    }

    /// Returns the roots of ranges of leaves, or `None` if a tile is missing in the store.
    pub(crate) async fn ranges(&self, tx: &mut Tx, ranges: &[Range]) -> Result<Option<Vec<Hash>>, StoreError> {
        let needed: BTreeSet<_> = merkle::tiles(self.edge.size(), ranges.iter().copied());
        let tiles = self.tiles(tx, needed).await?;
        let full = tiles.into_iter().map(|(id, tile)| (id, tile.hashes)).collect();
        let nodes = Nodes {
            edge: &self.edge,
            full: &full,
        };
        Ok(nodes.ranges(ranges))
    }

    /// Returns the offset of the first entry whose leaf shares a tile with the leaf at `index`, or `None` if the tile is missing.
    pub(crate) async fn offset_near(&self, tx: &mut Tx, index: i64) -> Result<Option<i64>, StoreError> {
        let id = TileId {
            row: 0,
            index: index as u64 / WIDTH as u64,
        };
        if id.index == self.edge.size() / WIDTH as u64 {
            return Ok(Some(self.edge_offset));
        }
        let tiles = self.tiles(tx, [id]).await?;
        Ok(tiles.get(&id).and_then(|tile| tile.first))
    }
}

/// The changes of the store that appends to several trees require.
#[derive(Default)]
pub(crate) struct Growth {
    /// Tiles that were filled.
    tiles: Vec<TileRow>,
    /// Heads of trees that were empty.
    first: Vec<Head>,
    /// Changes of the heads of other trees.
    changed: Vec<Update>,
}

impl Growth {
    /// Stores the tiles that were filled and the new states of the trees.
    ///
    /// # Errors
    /// Returns an error if a stored tree is no longer the one that was read.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        if !self.tiles.is_empty() {
            let tiles = tx.collection::<TileRow>(TILES);
            let inserted = tiles.insert_many(self.tiles).session(tx.session()).await;
            inserted.map_err(store_error)?;
        }
        if !self.first.is_empty() {
            let heads = tx.collection::<Head>(TREES);
            let inserted = heads.insert_many(self.first).session(tx.session()).await;
            inserted.map_err(store_error)?;
        }
        let changed = self.changed.len() as u64;
        if tx.update_each(TREES, self.changed).await? != changed {
            return Err(StoreError::new(StoreErrorKind::Unavailable, TreeError::Conflict));
        }
        Ok(())
    }
}

impl TryFrom<Head> for Tree {
    type Error = StoreError;

    fn try_from(head: Head) -> Result<Self, StoreError> {
        let rows: Option<Vec<_>> = head.edge.iter().map(hashes).collect();
        let size = u64::try_from(head.size).ok();
        let edge = size.zip(rows).and_then(|(size, rows)| Edge::new(size, rows));
        let Some(edge) = edge else {
            return Err(head
                .id
                .error(StoreErrorKind::Unexpected, |topic, partition| TreeError::Corrupt {
                    topic,
                    partition,
                }));
        };
        Ok(Self {
            id: head.id,
            edge,
            last_offset: head.last_offset,
            edge_offset: head.edge_offset,
        })
    }
}

/// Splits concatenated hashes. Returns `None` if the length is not a multiple of a hash.
fn hashes(concatenated: &Binary) -> Option<Vec<Hash>> {
    let (hashes, rest) = concatenated.bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Returns the `_id` of a tile. The order of the fields is part of the value.
fn tile_id(tree: &TreeId, id: TileId) -> Document {
    let mut document = tree.document();
    document.insert("row", i64::from(id.row));
    document.insert("index", id.index as i64);
    document
}
