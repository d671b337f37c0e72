//! Merkle trees according to RFC 6962 and RFC 9162, stored in tiles. Pure.
//!
//! Row 0 consists of the hashes of the leaves; row `t` consists of the roots of the complete subtrees of 16^t leaves. Each row
//! is divided into tiles of 16 hashes. A full tile never changes; the tiles that are not full form the tree's [`Edge`].

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Number of hashes in a full tile.
pub const WIDTH: usize = 16;
/// Number of tree levels between two rows.
const HEIGHT: u32 = 4;

/// The id of a tile: its row, and its index in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    pub row: u32,
    pub index: u64,
}

/// A full tile.
pub type Tile = [Hash; WIDTH];

/// A range of leaves: the index of the first one, and the index after the last one.
pub type Range = (u64, u64);

/// Returns the hash of a leaf (RFC 6962, section 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

/// Returns the hash of an inner node (RFC 6962, section 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let node = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
    node.finalize().into()
}

/// Returns the root of a full tile.
pub fn tile_root(tile: &Tile) -> Hash {
    subtree(tile)
}

/// Returns the root of a complete subtree, whose number of hashes is a power of two.
fn subtree(hashes: &[Hash]) -> Hash {
    match hashes {
        [hash] => *hash,
        hashes => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&subtree(left), &subtree(right))
        }
    }
}

impl TileId {
    pub(crate) fn parent(self) -> Self {
        Self {
            row: self.row + 1,
            index: self.index / WIDTH as u64,
        }
    }

    /// Returns the index of the tile's root in its parent tile.
    pub(crate) fn slot_in_parent(self) -> usize {
        (self.index % WIDTH as u64) as usize
    }

    /// Returns the number of leaves that a full tile of this row covers.
    pub(crate) fn span(row: u32) -> u64 {
        1 << (HEIGHT * (row + 1))
    }
}

/// The right edge of a tree: the tiles that are not full, one for each row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    rows: Vec<Vec<Hash>>,
}

impl Edge {
    /// Creates an edge from its rows. Returns `None` if a tree of this size cannot have these rows.
    pub fn new(size: u64, mut rows: Vec<Vec<Hash>>) -> Option<Self> {
        while rows.last().is_some_and(Vec::is_empty) {
            rows.pop();
        }
        let lengths = (0..).map(|row| size >> (HEIGHT * row)).take_while(|count| *count > 0);
        let fits = rows.len() == lengths.clone().count()
            && rows
                .iter()
                .zip(lengths)
                .all(|(row, count)| row.len() as u64 == count % WIDTH as u64);
        fits.then_some(Self { size, rows })
    }

    /// Returns the number of leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the rows, from the leaves up.
    pub fn rows(&self) -> &[Vec<Hash>] {
        &self.rows
    }

    /// Appends a leaf. Returns the tiles that it fills.
    pub fn append(&mut self, leaf: Hash) -> Vec<(TileId, Tile)> {
        self.size += 1;
        let (mut full, mut hash) = (Vec::new(), leaf);
        for row in 0.. {
            if self.rows.len() == row as usize {
                self.rows.push(Vec::with_capacity(WIDTH));
            }
            let hashes = &mut self.rows[row as usize];
            hashes.push(hash);
            let Ok(tile) = Tile::try_from(hashes.as_slice()) else {
                break;
            };
            hashes.clear();
            hash = tile_root(&tile);
            let index = (self.size >> (HEIGHT * (row + 1))) - 1;
            full.push((TileId { row, index }, tile));
        }
        full
    }

    /// Returns the root of the tree. The root of an empty tree is the hash of an empty string.
    pub fn root(&self) -> Hash {
        let none = HashMap::new();
        let known = Nodes {
            edge: self,
            full: &none,
        };
        known.root(self.size).expect("the edge contains every peak")
    }
}

/// The hashes of a tree that are in memory.
#[derive(Debug, Clone, Copy)]
pub struct Nodes<'a> {
    pub edge: &'a Edge,
    pub full: &'a HashMap<TileId, Tile>,
}

impl Nodes<'_> {
    /// Returns the root that the tree had at a size, or `None` if a tile is missing.
    pub fn root(&self, size: u64) -> Option<Hash> {
        self.range((0, size))
    }

    /// Returns the roots of ranges, or `None` if a tile is missing.
    pub fn ranges(&self, ranges: &[Range]) -> Option<Vec<Hash>> {
        ranges.iter().map(|range| self.range(*range)).collect()
    }

    fn range(&self, range: Range) -> Option<Hash> {
        let mut root = None;
        for (level, index) in peaks(range).into_iter().rev() {
            let peak = self.node(level, index)?;
            root = Some(root.map_or(peak, |right| node_hash(&peak, &right)));
        }
        Some(root.unwrap_or_else(|| Sha256::digest(b"").into()))
    }

    /// Returns the root of a complete subtree of 2^level leaves.
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        let (tile, within) = tile_of(level, index);
        let hashes = match self.full.get(&tile) {
            Some(hashes) => hashes.as_slice(),
            None => {
                let full = self.edge.size >> (HEIGHT * (tile.row + 1));
                let edge = self.edge.rows.get(tile.row as usize)?;
                (full == tile.index).then_some(edge.as_slice())?
            }
        };
        Some(subtree(hashes.get(within)?))
    }
}

/// Returns the tile that contains a complete subtree, and the range of its hashes in that tile.
fn tile_of(level: u32, index: u64) -> (TileId, std::ops::Range<usize>) {
    let (row, up) = (level / HEIGHT, level % HEIGHT);
    let first = index << up;
    let within = (first % WIDTH as u64) as usize;
    let tile = TileId {
        row,
        index: first / WIDTH as u64,
    };
    (tile, within..within + (1 << up))
}

/// Returns the complete subtrees into which RFC 6962 divides a range, from the left, as levels and indexes.
fn peaks((mut low, high): Range) -> Vec<(u32, u64)> {
    let mut peaks = Vec::new();
    while low < high {
        let level = low.trailing_zeros().min((high - low).ilog2());
        peaks.push((level, low >> level));
        low += 1 << level;
    }
    peaks
}

/// Returns the full tiles of a tree of `size` leaves that [`Nodes::ranges`] needs.
pub fn tiles(size: u64, ranges: impl IntoIterator<Item = Range>) -> BTreeSet<TileId> {
    let peaks = ranges.into_iter().flat_map(peaks);
    let tiles = peaks.map(|(level, index)| tile_of(level, index).0);
    tiles
        .filter(|tile| tile.index < size / TileId::span(tile.row))
        .collect()
}

/// Returns the ranges whose roots form the inclusion proof of a leaf in a tree of `size` leaves, from the leaf up (PATH in
/// RFC 6962, section 2.1.1).
pub fn inclusion(leaf: u64, size: u64) -> Vec<Range> {
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if leaf < middle {
            path.push((middle, high));
            high = middle;
        } else {
            path.push((low, middle));
            low = middle;
        }
    }
    path.reverse();
    path
}

/// Returns the ranges whose roots prove that a tree of `size` leaves extends the tree of `from` leaves (PROOF in RFC 6962,
/// section 2.1.2).
pub fn consistency(from: u64, size: u64) -> Vec<Range> {
    if from == 0 {
        return Vec::new();
    }
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    while high != from {
        let middle = low + split(high - low);
        if from <= middle {
            path.push((middle, high));
            high = middle;
        } else {
            path.push((low, middle));
            low = middle;
        }
    }
    // The verifier already has the root of the tree of `from` leaves.
    if low > 0 {
        path.push((low, high));
    }
    path.reverse();
    path
}

/// Returns the largest power of two that is less than `count`, which must be at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Literal implementations of RFC 6962, section 2.1, and of the verification in RFC 9162.

    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [leaf] => *leaf,
            leaves => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&mth(left), &mth(right))
            }
        }
    }

    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut path, other) = if m < k {
            (path(m, left), mth(right))
        } else {
            (path(m - k, right), mth(left))
        };
        path.push(other);
        path
    }

    fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![mth(leaves)] };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut proof, other) = if m <= k {
            (subproof(m, left, whole), mth(right))
        } else {
            (subproof(m - k, right, false), mth(left))
        };
        proof.push(other);
        proof
    }

    /// RFC 9162, section 2.1.3.2.
    fn included(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> bool {
        let (mut fnode, mut snode, mut hash) = (index, size - 1, leaf);
        for sibling in path {
            if snode == 0 {
                return false;
            }
            if fnode % 2 == 1 || fnode == snode {
                hash = node_hash(sibling, &hash);
                while fnode.is_multiple_of(2) && fnode != 0 {
                    (fnode, snode) = (fnode >> 1, snode >> 1);
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            (fnode, snode) = (fnode >> 1, snode >> 1);
        }
        snode == 0 && hash == root
    }

    struct GrownTree {
        leaves: Vec<Hash>,
        edge: Edge,
        full: HashMap<TileId, Tile>,
    }

    fn grow(size: usize) -> GrownTree {
        let leaves: Vec<_> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
        let (mut edge, mut full) = (Edge::default(), HashMap::new());
        for leaf in &leaves {
            full.extend(edge.append(*leaf));
        }
        GrownTree { leaves, edge, full }
    }

    impl GrownTree {
        /// Returns the roots of ranges, calculated only from the tiles that `tiles` names.
        fn fetched(&self, ranges: &[Range]) -> Vec<Hash> {
            let needed = tiles(self.edge.size, ranges.iter().copied());
            let full = needed.into_iter().map(|tile| (tile, self.full[&tile])).collect();
            let nodes = Nodes {
                edge: &self.edge,
                full: &full,
            };
            nodes.ranges(ranges).expect("no tile is missing")
        }
    }

    #[test]
    fn roots_equal_those_of_rfc_6962_for_every_size() {
        let tree = grow(300);
        for size in 0..=300 {
            let at = grow(size);
            let expected = mth(&tree.leaves[..size]);
            assert_eq!(at.edge.root(), expected, "{size}");
            assert_eq!(tree.fetched(&[(0, size as u64)]), [expected], "{size} of 300");
            let same = Edge::new(at.edge.size, at.edge.rows.clone());
            assert_eq!(same.as_ref(), Some(&at.edge), "the edge can be restored from its rows");
        }
        // The test vectors of Certificate Transparency.
        assert_eq!(
            crate::entry::hex(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            crate::entry::hex(mth(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn inclusion_is_proven_for_every_leaf_of_every_size() {
        let tree = grow(130);
        for size in 1..=130_u64 {
            let leaves = &tree.leaves[..size as usize];
            for leaf in 0..size {
                let proof = tree.fetched(&inclusion(leaf, size));
                assert_eq!(proof, path(leaf as usize, leaves), "{leaf} in {size}");
                assert!(included(leaves[leaf as usize], leaf, size, &proof, mth(leaves)));
            }
        }
    }

    #[test]
    fn consistency_is_proven_between_all_sizes() {
        let tree = grow(130);
        for size in 1..=130_u64 {
            for from in 1..=size {
                let expected = subproof(from as usize, &tree.leaves[..size as usize], true);
                assert_eq!(tree.fetched(&consistency(from, size)), expected, "{from} to {size}");
            }
        }
        assert!(consistency(0, 5).is_empty());
    }

    #[test]
    fn an_edge_with_rows_of_another_size_is_rejected() {
        let rows = grow(37).edge.rows;
        assert!(Edge::new(38, rows.clone()).is_none());
        assert!(Edge::new(21, rows).is_none());
        assert!(Edge::new(0, vec![Vec::new()]).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn proofs_of_large_trees_need_few_tiles(size in 1_u64..5_000, leaf: u64, from: u64) {
            let tree = grow(5_000);
            let (leaf, from) = (leaf % size, from % size + 1);
            let leaves = &tree.leaves[..size as usize];
            let ranges = [inclusion(leaf, size), consistency(from, size), vec![(0, size)]].concat();
            prop_assert!(tiles(5_000, ranges.iter().copied()).len() <= 12);
            let expected = [path(leaf as usize, leaves), subproof(from as usize, leaves, true), vec![mth(leaves)]];
            prop_assert_eq!(tree.fetched(&ranges), expected.concat());
        }
    }
}
