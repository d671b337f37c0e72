//! Merkle trees as in RFC 6962 and RFC 9162, kept in tiles. Pure.
//!
//! Row 0 are the hashes of the leaves, row `t` the roots of the complete subtrees of 16^t leaves. A row is cut into
//! tiles of 16 hashes. A full tile never changes again; what is not full is the tree's [`Edge`].

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Hashes in a full tile.
pub const WIDTH: usize = 16;
/// Levels of the tree from one row to the next.
const HEIGHT: u32 = 4;

/// Which tile: `index` counts along the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    pub row: u32,
    pub index: u64,
}

/// A full tile.
pub type Tile = [Hash; WIDTH];

/// Leaves from the first up to the second, which is not among them.
pub type Range = (u64, u64);

pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let node = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
    node.finalize().into()
}

/// The root of a full tile.
pub fn tile_root(tile: &Tile) -> Hash {
    subtree(tile)
}

/// The root over a power of two of hashes.
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

    /// Where the tile's root stands in its parent.
    pub(crate) fn place_in_parent(self) -> usize {
        (self.index % WIDTH as u64) as usize
    }

    /// Leaves that a tile of this row covers.
    pub(crate) fn span(row: u32) -> u64 {
        1 << (HEIGHT * (row + 1))
    }
}

/// The tiles of a tree that are not full, one a row: its right edge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    rows: Vec<Vec<Hash>>,
}

impl Edge {
    /// `None` where the rows are not those of a tree of that size.
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

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The rows, from the leaves up.
    pub fn rows(&self) -> &[Vec<Hash>] {
        &self.rows
    }

    /// Adds a leaf; answers the tiles that it fills.
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

    /// The root of the tree; of one without leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let none = HashMap::new();
        let known = Nodes {
            edge: self,
            full: &none,
        };
        known.root(self.size).expect("the edge holds every peak")
    }
}

/// The hashes of a tree, as far as they were fetched.
#[derive(Debug, Clone, Copy)]
pub struct Nodes<'a> {
    pub edge: &'a Edge,
    pub full: &'a HashMap<TileId, Tile>,
}

impl Nodes<'_> {
    /// The root as it was at a size.
    pub fn root(&self, size: u64) -> Option<Hash> {
        self.range((0, size))
    }

    /// The roots of ranges; `None` where a tile is missing.
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

    /// The root of a complete subtree of 2^level leaves.
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

/// The tile that holds a complete subtree, and where in it.
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

/// The complete subtrees that make up a range as RFC 6962 cuts it, from the left, as levels and indexes.
fn peaks((mut low, high): Range) -> Vec<(u32, u64)> {
    let mut peaks = Vec::new();
    while low < high {
        let level = low.trailing_zeros().min((high - low).ilog2());
        peaks.push((level, low >> level));
        low += 1 << level;
    }
    peaks
}

/// The full tiles of a tree of `size` leaves that hold what [`Nodes::ranges`] needs.
pub fn tiles(size: u64, ranges: impl IntoIterator<Item = Range>) -> BTreeSet<TileId> {
    let peaks = ranges.into_iter().flat_map(peaks);
    let tiles = peaks.map(|(level, index)| tile_of(level, index).0);
    tiles
        .filter(|tile| tile.index < size / TileId::span(tile.row))
        .collect()
}

/// Whose roots are the inclusion proof of a leaf in a tree of `size`: PATH of RFC 6962, 2.1.1. From the leaf up.
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

/// Whose roots are the proof that a tree of `size` continues the one of `from`: PROOF of RFC 6962, 2.1.2.
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
    // The verifier has the root of `from` itself.
    if low > 0 {
        path.push((low, high));
    }
    path.reverse();
    path
}

/// The largest power of two below a number from 2 on.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 6962, section 2.1, word for word, and RFC 9162's verification.

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
        let (mut path, other) = match m < k {
            true => (path(m, left), mth(right)),
            false => (path(m - k, right), mth(left)),
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
        let (mut proof, other) = match m <= k {
            true => (subproof(m, left, whole), mth(right)),
            false => (subproof(m - k, right, false), mth(left)),
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

    struct Grown {
        leaves: Vec<Hash>,
        edge: Edge,
        full: HashMap<TileId, Tile>,
    }

    fn grown(size: usize) -> Grown {
        let leaves: Vec<_> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
        let (mut edge, mut full) = (Edge::default(), HashMap::new());
        for leaf in &leaves {
            full.extend(edge.append(*leaf));
        }
        Grown { leaves, edge, full }
    }

    impl Grown {
        /// With nothing fetched but what is said to be needed.
        fn fetched(&self, ranges: &[Range]) -> Vec<Hash> {
            let needed = tiles(self.edge.size, ranges.iter().copied());
            let full = needed.into_iter().map(|tile| (tile, self.full[&tile])).collect();
            let nodes = Nodes {
                edge: &self.edge,
                full: &full,
            };
            nodes.ranges(ranges).expect("every tile is there")
        }
    }

    #[test]
    fn roots_are_those_of_rfc_6962_for_every_size() {
        let tree = grown(300);
        for size in 0..=300 {
            let at = grown(size);
            let expected = mth(&tree.leaves[..size]);
            assert_eq!(at.edge.root(), expected, "{size}");
            assert_eq!(tree.fetched(&[(0, size as u64)]), [expected], "{size} of 300");
            let same = Edge::new(at.edge.size, at.edge.rows.clone());
            assert_eq!(same.as_ref(), Some(&at.edge), "it survives the store");
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
        let tree = grown(130);
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
        let tree = grown(130);
        for size in 1..=130_u64 {
            for from in 1..=size {
                let expected = subproof(from as usize, &tree.leaves[..size as usize], true);
                assert_eq!(tree.fetched(&consistency(from, size)), expected, "{from} to {size}");
            }
        }
        assert!(consistency(0, 5).is_empty());
    }

    #[test]
    fn an_edge_of_another_size_is_refused() {
        let rows = grown(37).edge.rows;
        assert!(Edge::new(38, rows.clone()).is_none());
        assert!(Edge::new(21, rows).is_none());
        assert!(Edge::new(0, vec![Vec::new()]).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn large_trees_are_proven_from_few_tiles(size in 1_u64..5_000, leaf: u64, from: u64) {
            let tree = grown(5_000);
            let (leaf, from) = (leaf % size, from % size + 1);
            let leaves = &tree.leaves[..size as usize];
            let ranges = [inclusion(leaf, size), consistency(from, size), vec![(0, size)]].concat();
            prop_assert!(tiles(5_000, ranges.iter().copied()).len() <= 12);
            let expected = [path(leaf as usize, leaves), subproof(from as usize, leaves, true), vec![mth(leaves)]];
            prop_assert_eq!(tree.fetched(&ranges), expected.concat());
        }
    }
}
