//! Verifies an export of the audit log offline: every leaf, tree and signature, and the chain of checkpoints.
//!
//! Knows the format, SHA-256 and Ed25519, and shares no code with the service that wrote the export.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lines::{FORMAT, Line};

/// Maximum number of findings that a report lists. Further findings are counted.
const MAX_LISTED_FINDINGS: usize = 1_000;

type Hash = [u8; 32];
type TreeId = (String, i32);

/// Result of a verification: what was verified, and the findings.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) valid: bool,
    pub(super) entries: u64,
    pub(super) trees: usize,
    pub(super) checkpoints: u64,
    /// Number of entries whose content or bytes were too large for the export. Their hashes are verified nevertheless.
    pub(super) left_out: u64,
    /// SHA-256 of the newest checkpoint's text, for comparison with a copy that is stored elsewhere.
    pub(super) newest_checkpoint: Option<String>,
    /// Ids of the keys that signed. The export cannot prove who owns them.
    pub(super) key_ids: BTreeSet<String>,
    pub(super) findings: Vec<Finding>,
    /// Number of findings beyond [`MAX_LISTED_FINDINGS`].
    pub(super) more_findings: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Line number, counted from 1.
    pub(super) line: u64,
    #[serde(rename = "what")]
    pub(super) description: String,
}

/// Parsed leaf. The hash covers its text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "deserialization rejects a leaf that lacks a field or has others"
)]
struct Leaf {
    v: u8,
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    recorded_at: i64,
    key: Option<String>,
    #[serde(rename = "foreign_key")]
    noncanonical_key: Option<String>,
    headers: Vec<(String, String)>,
    sha256: Option<String>,
    kept: bool,
    content_sha256: Option<String>,
}

/// One line of a checkpoint's text.
struct Head {
    tree: TreeId,
    size: u64,
    root: String,
}

/// A Merkle tree that grows entry by entry (RFC 6962, section 2.1).
#[derive(Default)]
struct Tree {
    size: u64,
    /// Roots of complete subtrees, each with the base-2 logarithm of its size; largest first.
    peaks: Vec<(u32, Hash)>,
    last_offset: Option<i64>,
}

#[derive(Default)]
struct Verifier {
    line: u64,
    report: Report,
    keys: HashMap<String, VerifyingKey>,
    /// Roots that checkpoints cover, by tree and size.
    signed_roots: BTreeMap<TreeId, BTreeMap<u64, String>>,
    newest: Vec<Head>,
    tree: Option<(TreeId, Tree)>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Start,
    Keys,
    Checkpoints,
    Entries,
}

/// Verifies an export, which is read to its end.
pub(super) fn verify(mut export: impl BufRead) -> io::Result<Report> {
    let mut verifier = Verifier::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if export.read_until(b'\n', &mut line)? == 0 {
            return Ok(verifier.end());
        }
        verifier.line += 1;
        match line.strip_suffix(b"\n") {
            Some(line) => verifier.take(line),
            None => verifier.add_finding("the file ends in the middle of a line"),
        }
    }
}

impl Verifier {
    fn add_finding(&mut self, description: impl Into<String>) {
        if self.report.findings.len() == MAX_LISTED_FINDINGS {
            self.report.more_findings += 1;
            return;
        }
        self.report.findings.push(Finding {
            line: self.line,
            description: description.into(),
        });
    }

    fn take(&mut self, line: &[u8]) {
        let Some(line) = Line::parse(line) else {
            return self.add_finding("this is not a valid export line");
        };
        let stage = match &line {
            Line::Export { .. } => Stage::Start,
            Line::Key { .. } => Stage::Keys,
            Line::Checkpoint { .. } => Stage::Checkpoints,
            Line::Entry { .. } => Stage::Entries,
        };
        if stage < self.stage || (stage == Stage::Start) != (self.line == 1) {
            self.add_finding("this kind of line is not allowed here");
        }
        self.stage = stage;
        match line {
            Line::Export { format } if format == FORMAT => {}
            Line::Export { format } => self.add_finding(format!("format {format} is not supported")),
            Line::Key { key_id, public_key } => self.key(key_id, &public_key),
            Line::Checkpoint { text, signature } => self.checkpoint(&text, &signature),
            Line::Entry {
                topic,
                partition,
                index,
                leaf,
                leaf_hash,
                content,
                value,
            } => {
                self.enter((topic, partition));
                self.index(index);
                match leaf {
                    Some(leaf) => self.leaf(&leaf, leaf_hash.as_deref(), content.as_deref(), value.as_deref()),
                    None => self.add_finding("the entry has no leaf, so it cannot be verified"),
                }
            }
        }
    }

    fn key(&mut self, key_id: String, public_key: &str) {
        let bytes = STANDARD.decode(public_key).unwrap_or_default();
        let key = bytes.as_slice().try_into().ok();
        match key.and_then(|key| VerifyingKey::from_bytes(key).ok()) {
            Some(key) if key_id == hex(&Sha256::digest(&bytes)[..16]) => {
                if self.keys.insert(key_id, key).is_some() {
                    self.add_finding("the key occurs twice");
                }
            }
            Some(_) => self.add_finding("the key id does not match the key"),
            None => self.add_finding("this is not an Ed25519 key"),
        }
    }

    fn checkpoint(&mut self, text: &str, signature: &str) {
        self.report.checkpoints += 1;
        let number = self.report.checkpoints;
        let Some((fields, heads)) = parse(text) else {
            return self.add_finding("the checkpoint's text is malformed");
        };
        let [checkpoint, _, _, key, previous] = fields;
        if checkpoint != number.to_string() {
            self.add_finding(format!("the checkpoint has number {checkpoint} instead of {number}"));
        }
        if Some(previous) != self.report.newest_checkpoint.as_deref() && !(number == 1 && previous == "-") {
            self.add_finding("the checkpoint does not refer to the previous one");
        }
        self.report.newest_checkpoint = Some(hex(Sha256::digest(text)));
        let signature = STANDARD.decode(signature).ok();
        let signature = signature.and_then(|signature| Signature::from_slice(&signature).ok());
        match (self.keys.get(key), signature) {
            (None, _) => self.add_finding("the checkpoint's key is not in the export"),
            (Some(known), Some(signature)) if known.verify_strict(text.as_bytes(), &signature).is_ok() => {
                self.report.key_ids.insert(key.to_owned());
            }
            (Some(_), _) => self.add_finding("the checkpoint's signature does not match its text and key"),
        }
        for head in &heads {
            let roots = self.signed_roots.entry(head.tree.clone()).or_default();
            let previous = roots.insert(head.size, head.root.clone());
            if previous.is_some_and(|previous| previous != head.root) {
                self.add_finding(format!(
                    "two checkpoints contain different roots of {}",
                    name(&head.tree)
                ));
            }
        }
        let newest = std::mem::take(&mut self.newest);
        for before in newest {
            let now = heads.iter().find(|head| head.tree == before.tree);
            if now.is_none_or(|now| now.size < before.size) {
                self.add_finding(format!("{} has shrunk", name(&before.tree)));
            }
        }
        self.newest = heads;
    }

    /// Begins a new tree, unless the entry belongs to the current one.
    fn enter(&mut self, tree: TreeId) {
        match &self.tree {
            Some((current, _)) if *current == tree => return,
            Some((current, _)) if *current > tree => {
                self.add_finding(format!("the entries of {} are not in order", name(&tree)));
            }
            _ => {}
        }
        self.leave();
        if !self.newest.iter().any(|head| head.tree == tree) {
            self.add_finding(format!("the newest checkpoint does not cover {}", name(&tree)));
        }
        self.report.trees += 1;
        self.tree = Some((tree, Tree::default()));
    }

    /// Ends the current tree and reports each signed root that it never had.
    fn leave(&mut self) {
        let Some((tree, _)) = self.tree.take() else { return };
        for size in self.signed_roots.remove(&tree).unwrap_or_default().into_keys() {
            self.add_finding(format!(
                "a checkpoint covers {size} entries of {}, but the export lacks some of them",
                name(&tree)
            ));
        }
    }

    fn index(&mut self, index: u64) {
        let size = self.tree.as_ref().map_or(0, |(_, tree)| tree.size);
        if index != size {
            self.add_finding(format!("the entry has index {index} instead of {size}"));
        }
    }

    fn leaf(&mut self, text: &str, hash: Option<&str>, content: Option<&str>, value: Option<&str>) {
        self.report.entries += 1;
        let actual = Sha256::new().chain_update([0]).chain_update(text).finalize().into();
        if hash != Some(hex(actual).as_str()) {
            self.add_finding("the leaf hash does not match the leaf");
        }
        match serde_json::from_str::<Leaf>(text) {
            Ok(leaf) => self.check_leaf(&leaf, content, value),
            Err(_) => self.add_finding("the leaf is malformed"),
        }
        let Some((id, tree)) = &mut self.tree else { return };
        tree.append(actual);
        let (size, root) = (tree.size, tree.root());
        let signed = self.signed_roots.get_mut(id).and_then(|roots| roots.remove(&size));
        if signed.is_some_and(|signed| signed != hex(root)) {
            let tree = name(id);
            self.add_finding(format!(
                "the first {size} entries of {tree} differ from those covered by a checkpoint"
            ));
        }
    }

    fn check_leaf(&mut self, leaf: &Leaf, content: Option<&str>, value: Option<&str>) {
        let Some((id, tree)) = &mut self.tree else { return };
        let follows = tree.last_offset.is_none_or(|last| last < leaf.offset);
        tree.last_offset = Some(leaf.offset);
        let is_of_tree = (leaf.topic.as_str(), leaf.partition) == (id.0.as_str(), id.1);
        if !follows {
            self.add_finding("the entry's offset is not greater than that of the previous entry");
        }
        if !is_of_tree {
            self.add_finding("the leaf belongs to another topic or partition");
        }
        if leaf.v != 1 {
            self.add_finding("the version of the leaf is not supported");
        }
        let content = content.map(|content| hex(Sha256::digest(content)));
        if content.is_some() && content != leaf.content_sha256 {
            self.add_finding("the content does not match its hash in the leaf");
        }
        let value = value.map(|value| STANDARD.decode(value).map(|value| hex(Sha256::digest(value))));
        let is_left_out = (leaf.kept && value.is_none()) || (leaf.content_sha256.is_some() && content.is_none());
        self.report.left_out += u64::from(is_left_out);
        match value {
            Some(Ok(hash)) if leaf.kept && Some(&hash) == leaf.sha256.as_ref() => {}
            Some(_) => self.add_finding("the bytes do not match their hash in the leaf"),
            None => {}
        }
    }

    fn end(mut self) -> Report {
        self.leave();
        if self.report.checkpoints == 0 {
            self.add_finding("the export has no checkpoint");
        }
        if self.keys.len() > self.report.key_ids.len() {
            self.add_finding("the export has a key that signed no checkpoint");
        }
        let without_entries: Vec<_> = std::mem::take(&mut self.signed_roots).into_keys().collect();
        for tree in without_entries {
            self.add_finding(format!(
                "checkpoints cover {}, but the export has none of its entries",
                name(&tree)
            ));
        }
        self.report.valid = self.report.findings.is_empty();
        self.report
    }
}

impl Tree {
    fn append(&mut self, leaf: Hash) {
        self.size += 1;
        let mut peak = (0, leaf);
        while let Some((level, left)) = self.peaks.pop_if(|(level, _)| *level == peak.0) {
            peak = (level + 1, node(&left, &peak.1));
        }
        self.peaks.push(peak);
    }

    /// Returns the Merkle tree hash (RFC 6962, section 2.1).
    fn root(&self) -> Hash {
        let peaks = self.peaks.iter().rev().map(|(_, peak)| *peak);
        let root = peaks.reduce(|right, left| node(&left, &right));
        root.unwrap_or_else(|| Sha256::digest(b"").into())
    }
}

/// Parses a checkpoint's text. Returns its fields in their order, and its heads.
fn parse(text: &str) -> Option<([&str; 5], Vec<Head>)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    (lines.next()? == "rollcall audit checkpoint 1").then_some(())?;
    let mut fields = [""; 5];
    for (field, name) in fields
        .iter_mut()
        .zip(["number ", "id ", "signed_at ", "key ", "previous "])
    {
        *field = lines.next()?.strip_prefix(name)?;
    }
    let heads = lines.map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [topic, partition, size, root] = words[..] else {
            return None;
        };
        Some(Head {
            tree: (topic.to_owned(), partition.parse().ok()?),
            size: size.parse().ok()?,
            root: root.to_owned(),
        })
    });
    Some((fields, heads.collect::<Option<_>>()?))
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let node = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
    node.finalize().into()
}

fn name((topic, partition): &TreeId) -> String {
    format!("{topic}-{partition}")
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
