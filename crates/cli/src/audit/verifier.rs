//! Verifies an export of the audit log, offline: every leaf, every tree, every signature, and the chain. It knows the
//! format and SHA-256 and Ed25519, and nothing of the service that wrote it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lines::{FORMAT, Line};

/// Findings that are named, at most.
const NAMED: usize = 1_000;

type Hash = [u8; 32];
type TreeId = (String, i32);

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) valid: bool,
    pub(super) entries: u64,
    pub(super) trees: usize,
    pub(super) checkpoints: u64,
    /// Entries whose content or bytes were too large for the export: their hashes are proven all the same.
    pub(super) left_out: u64,
    /// SHA-256 of the newest checkpoint's text: whoever has noted it elsewhere can compare.
    pub(super) newest_checkpoint: Option<String>,
    /// Whose keys these are, the export can't say.
    pub(super) key_ids: BTreeSet<String>,
    pub(super) findings: Vec<Wrong>,
    /// Findings that are not named any more.
    pub(super) more_findings: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Wrong {
    /// From 1.
    pub(super) line: u64,
    pub(super) what: String,
}

/// What a leaf says. The text itself is what is hashed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a leaf has these fields, and no others")]
struct Leaf {
    v: u8,
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    recorded_at: i64,
    key: Option<String>,
    foreign_key: Option<String>,
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

/// A tree as its entries come.
#[derive(Default)]
struct Tree {
    size: u64,
    /// Roots of complete subtrees, with the logarithm of their size; the largest first.
    peaks: Vec<(u32, Hash)>,
    last_offset: Option<i64>,
}

#[derive(Default)]
struct Verifier {
    line: u64,
    report: Report,
    keys: HashMap<String, VerifyingKey>,
    /// By tree and size, the root that a checkpoint signed.
    claims: BTreeMap<TreeId, BTreeMap<u64, String>>,
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

/// Reads an export to its end.
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
            None => verifier.wrong("the file ends within a line"),
        }
    }
}

impl Verifier {
    fn wrong(&mut self, what: impl Into<String>) {
        if self.report.findings.len() == NAMED {
            self.report.more_findings += 1;
            return;
        }
        self.report.findings.push(Wrong {
            line: self.line,
            what: what.into(),
        });
    }

    fn take(&mut self, line: &[u8]) {
        let Some(line) = Line::parse(line) else {
            return self.wrong("this is no line of an export");
        };
        let stage = match &line {
            Line::Export { .. } => Stage::Start,
            Line::Key { .. } => Stage::Keys,
            Line::Checkpoint { .. } => Stage::Checkpoints,
            Line::Entry { .. } => Stage::Entries,
        };
        if stage < self.stage || (stage == Stage::Start) != (self.line == 1) {
            self.wrong("it stands in the wrong place");
        }
        self.stage = stage;
        match line {
            Line::Export { format } if format == FORMAT => {}
            Line::Export { format } => self.wrong(format!("format {format} is not known here")),
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
                    None => self.wrong("the entry's leaf is left out, so nobody can say what it asserts"),
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
                    self.wrong("the key is there twice");
                }
            }
            Some(_) => self.wrong("the key has another id"),
            None => self.wrong("this is no Ed25519 key"),
        }
    }

    fn checkpoint(&mut self, text: &str, signature: &str) {
        self.report.checkpoints += 1;
        let number = self.report.checkpoints;
        let Some((fields, heads)) = parse(text) else {
            return self.wrong("the checkpoint's text is none");
        };
        let [checkpoint, _, _, key, previous] = fields;
        if checkpoint != number.to_string() {
            self.wrong(format!("the checkpoint is number {checkpoint}, and {number} is next"));
        }
        if Some(previous) != self.report.newest_checkpoint.as_deref() && !(number == 1 && previous == "-") {
            self.wrong("the checkpoint does not follow the one before");
        }
        self.report.newest_checkpoint = Some(hex(Sha256::digest(text)));
        let signature = STANDARD.decode(signature).ok();
        let signature = signature.and_then(|signature| Signature::from_slice(&signature).ok());
        match (self.keys.get(key), signature) {
            (None, _) => self.wrong("the checkpoint's key is not in the export"),
            (Some(known), Some(signature)) if known.verify_strict(text.as_bytes(), &signature).is_ok() => {
                self.report.key_ids.insert(key.to_owned());
            }
            (Some(_), _) => self.wrong("the checkpoint's signature is not of its text and key"),
        }
        for head in &heads {
            let claims = self.claims.entry(head.tree.clone()).or_default();
            let same = claims.insert(head.size, head.root.clone());
            if same.is_some_and(|same| same != head.root) {
                self.wrong(format!(
                    "two checkpoints have signed different roots of {}",
                    name(&head.tree)
                ));
            }
        }
        let newest = std::mem::take(&mut self.newest);
        for before in newest {
            let now = heads.iter().find(|head| head.tree == before.tree);
            if now.is_none_or(|now| now.size < before.size) {
                self.wrong(format!("{} has shrunk", name(&before.tree)));
            }
        }
        self.newest = heads;
    }

    /// Another tree may begin.
    fn enter(&mut self, tree: TreeId) {
        match &self.tree {
            Some((now, _)) if *now == tree => return,
            Some((now, _)) if *now > tree => self.wrong(format!("{} stands in the wrong place", name(&tree))),
            _ => {}
        }
        self.leave();
        if !self.newest.iter().any(|head| head.tree == tree) {
            self.wrong(format!("no checkpoint has signed {}", name(&tree)));
        }
        self.report.trees += 1;
        self.tree = Some((tree, Tree::default()));
    }

    /// Whatever checkpoints have signed of the tree must have been met.
    fn leave(&mut self) {
        let Some((tree, _)) = self.tree.take() else { return };
        for size in self.claims.remove(&tree).unwrap_or_default().into_keys() {
            self.wrong(format!(
                "a checkpoint has signed {size} entries of {}, and they are not here",
                name(&tree)
            ));
        }
    }

    fn index(&mut self, index: u64) {
        let size = self.tree.as_ref().map_or(0, |(_, tree)| tree.size);
        if index != size {
            self.wrong(format!("the entry has index {index}, and {size} is next"));
        }
    }

    fn leaf(&mut self, text: &str, hash: Option<&str>, content: Option<&str>, value: Option<&str>) {
        self.report.entries += 1;
        let own = Sha256::new().chain_update([0]).chain_update(text).finalize().into();
        if hash != Some(hex(own).as_str()) {
            self.wrong("the leaf hash is not that of the leaf");
        }
        match serde_json::from_str::<Leaf>(text) {
            Ok(leaf) => self.asserts(&leaf, content, value),
            Err(_) => self.wrong("the leaf is none"),
        }
        let Some((id, tree)) = &mut self.tree else { return };
        tree.append(own);
        let (size, root) = (tree.size, tree.root());
        let claim = self.claims.get_mut(id).and_then(|claims| claims.remove(&size));
        if claim.is_some_and(|claim| claim != hex(root)) {
            let tree = name(id);
            self.wrong(format!(
                "the first {size} entries of {tree} are not those that a checkpoint has signed"
            ));
        }
    }

    fn asserts(&mut self, leaf: &Leaf, content: Option<&str>, value: Option<&str>) {
        let Some((id, tree)) = &mut self.tree else { return };
        let follows = tree.last_offset.is_none_or(|last| last < leaf.offset);
        tree.last_offset = Some(leaf.offset);
        let is_of_tree = (leaf.topic.as_str(), leaf.partition) == (id.0.as_str(), id.1);
        if !follows {
            self.wrong("the entry's offset does not follow the one before");
        }
        if !is_of_tree {
            self.wrong("the entry is of another topic or partition");
        }
        if leaf.v != 1 {
            self.wrong("the leaf is of another version");
        }
        let content = content.map(|content| hex(Sha256::digest(content)));
        if content.is_some() && content != leaf.content_sha256 {
            self.wrong("the content is not what the leaf has hashed");
        }
        let value = value.map(|value| STANDARD.decode(value).map(|value| hex(Sha256::digest(value))));
        let is_left_out = (leaf.kept && value.is_none()) || (leaf.content_sha256.is_some() && content.is_none());
        self.report.left_out += u64::from(is_left_out);
        match value {
            Some(Ok(hash)) if leaf.kept && Some(&hash) == leaf.sha256.as_ref() => {}
            Some(_) => self.wrong("the bytes are not those that the leaf has hashed"),
            None => {}
        }
    }

    fn end(mut self) -> Report {
        self.leave();
        if self.report.checkpoints == 0 {
            self.wrong("there is no checkpoint");
        }
        if self.keys.len() > self.report.key_ids.len() {
            self.wrong("there is a key that has signed nothing");
        }
        let unseen: Vec<_> = std::mem::take(&mut self.claims).into_keys().collect();
        for tree in unseen {
            self.wrong(format!(
                "checkpoints have signed {}, and its entries are not here",
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

    /// RFC 6962, section 2.1.
    fn root(&self) -> Hash {
        let peaks = self.peaks.iter().rev().map(|(_, peak)| *peak);
        let root = peaks.reduce(|right, left| node(&left, &right));
        root.unwrap_or_else(|| Sha256::digest(b"").into())
    }
}

/// The fields of a checkpoint's text, in their order, and its heads.
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
