//! Verifies the checkpoints: their signatures, their chain, and the heads of the trees that they sign.

use std::collections::BTreeMap;

use contracts::{CheckpointSigned, Record as _, topics};
use ed25519_dalek::{Signature, VerifyingKey};
use futures::TryStreamExt;
use messaging::ledger::StoreErrorKind;
use mongo::{Tx, store_error};
use mongodb::bson::{self, Document, doc};
use serde_json::Value;

use super::{QueryError, Report};
use crate::checkpoint::{self, Checkpoint};
use crate::entry::hex;
use crate::notary::StoredCheckpoint;
use crate::signer::key_id;
use crate::store::{CHECKPOINTS, ENTRIES};
use crate::tree::{Tree, TreeId};

/// Number of checkpoints that are verified in one step.
const STEP: i64 = 50;

/// A head of a tree in a checkpoint that differs from the head in the previous checkpoint.
struct SignedHead {
    number: i64,
    size: i64,
    root: String,
}

/// Verifies one step of checkpoints from number `from` on. Returns the number of the next step, or `None` if all are verified.
pub(super) async fn verify(
    tx: &mut Tx,
    topic: Option<&str>,
    from: i64,
    report: &mut Report,
) -> Result<Option<i64>, QueryError> {
    let found = read(tx, from).await?;
    let next = (found.len() as i64 > STEP).then_some(from.max(1) + STEP);
    let mut signed_heads: BTreeMap<TreeId, Vec<SignedHead>> = BTreeMap::new();
    let mut before: Option<(StoredCheckpoint, Option<Checkpoint>)> = None;
    let mut expected = from.max(1);
    for document in found {
        let number = document.get("_id").map(ToString::to_string).unwrap_or_default();
        let Ok(signed) = bson::deserialize_from_document::<StoredCheckpoint>(document) else {
            report.add("altered-checkpoint", number, "the document is not a valid checkpoint");
            continue;
        };
        let parsed = Checkpoint::parse(&signed.text);
        if signed.number < from {
            before = Some((signed, parsed));
            continue;
        }
        if signed.number >= from.max(1) + STEP {
            break;
        }
        report.checked.checkpoints += 1;
        for missing in expected..signed.number {
            report.add("missing-checkpoint", missing, "a later checkpoint exists");
        }
        expected = signed.number + 1;
        if let Some(detail) = discrepancy(&signed, parsed.as_ref()) {
            report.add("altered-checkpoint", signed.number, detail);
        }
        let last = before.as_ref().map(|(signed, _)| checkpoint::hash(&signed.text));
        if parsed.as_ref().is_some_and(|parsed| parsed.previous_hash != last) {
            report.add(
                "broken-chain",
                signed.number,
                "the checkpoint does not contain the hash of the previous one",
            );
        }
        if let Some(parsed) = &parsed {
            let earlier = before.as_ref().and_then(|(_, parsed)| parsed.as_ref());
            collect_signed_heads(parsed, earlier, topic, &mut signed_heads, report);
        }
        before = Some((signed, parsed));
    }
    for (id, signed_heads) in signed_heads {
        compare(tx, id, &signed_heads, report).await?;
    }
    if next.is_none() {
        // Each checkpoint is announced on the topic `audit`, which is recorded too.
        for missing in expected..=newest_announced(tx).await?.unwrap_or(0) {
            report.add("missing-checkpoint", missing, "the log contains its announcement");
        }
    }
    Ok(next)
}

/// Returns the number of the newest checkpoint that was announced.
async fn newest_announced(tx: &mut Tx) -> Result<Option<i64>, QueryError> {
    let entries = tx.collection::<Document>(ENTRIES);
    let newest = entries
        .find_one(doc! { "type": CheckpointSigned::NAME, "_id.topic": topics::AUDIT.name })
        .sort(doc! { "time": -1, "_id": -1 })
        .projection(doc! { "content": 1 })
        .session(tx.session());
    let newest = newest.await.map_err(store_error)?;
    let content = newest.as_ref().and_then(|entry| entry.get_str("content").ok());
    let announced: Option<Value> = content.and_then(|content| serde_json::from_str(content).ok());
    Ok(announced.and_then(|announced| announced["number"].as_i64()))
}

/// Reads the checkpoints of a step, the one before it, and one after it if it exists.
async fn read(tx: &mut Tx, from: i64) -> Result<Vec<Document>, QueryError> {
    let checkpoints = tx.collection::<Document>(CHECKPOINTS);
    let found = checkpoints
        .find(doc! { "_id": { "$gte": from - 1 } })
        .sort(doc! { "_id": 1 })
        .limit(STEP + 2)
        .session(tx.session());
    let mut found = found.await.map_err(store_error)?;
    let found = found.stream(tx.session()).try_collect().await.map_err(store_error)?;
    Ok(found)
}

/// Returns what is wrong with a checkpoint by itself, if anything.
fn discrepancy(signed: &StoredCheckpoint, parsed: Option<&Checkpoint>) -> Option<&'static str> {
    let Some(parsed) = parsed else {
        return Some("the signed text is not a valid checkpoint");
    };
    let matches_text = parsed.number == signed.number
        && parsed.id == mongo::from_bson(signed.id)
        && parsed.signed_at.as_micros() == signed.signed_at
        && parsed.key_id == signed.key_id;
    if !matches_text {
        return Some("the stored fields differ from the signed text");
    }
    if key_id(&signed.public_key.bytes) != parsed.key_id {
        return Some("the key id does not match the public key");
    }
    let key = signed.public_key.bytes.as_slice().try_into().ok();
    let key = key.and_then(|key| VerifyingKey::from_bytes(key).ok());
    let signature = Signature::from_slice(&signed.signature.bytes).ok();
    let is_signed = key
        .zip(signature)
        .is_some_and(|(key, signature)| key.verify_strict(signed.text.as_bytes(), &signature).is_ok());
    (!is_signed).then_some("the signature is invalid for this text and key")
}

/// Collects the heads of a checkpoint that differ from those of the earlier one, and reports heads that have shrunk.
fn collect_signed_heads(
    checkpoint: &Checkpoint,
    earlier: Option<&Checkpoint>,
    topic: Option<&str>,
    signed_heads: &mut BTreeMap<TreeId, Vec<SignedHead>>,
    report: &mut Report,
) {
    let is_selected = |name: &str| topic.is_none_or(|topic| topic == name);
    for head in checkpoint.heads.iter().filter(|head| is_selected(&head.topic)) {
        let earlier = earlier.and_then(|earlier| earlier.head(&head.topic, head.partition));
        if earlier != Some(head) {
            let id = TreeId::new(&head.topic, head.partition);
            signed_heads.entry(id).or_default().push(SignedHead {
                number: checkpoint.number,
                size: head.size,
                root: head.root.clone(),
            });
        }
    }
    for head in earlier.iter().flat_map(|earlier| &earlier.heads) {
        let now = checkpoint.head(&head.topic, head.partition);
        if is_selected(&head.topic) && now.is_none_or(|now| now.size < head.size) {
            let tree = TreeId::new(&head.topic, head.partition);
            report.add(
                "altered-checkpoint",
                checkpoint.number,
                format!("the tree {tree} is smaller than in the previous checkpoint"),
            );
        }
    }
}

async fn compare(tx: &mut Tx, id: TreeId, signed_heads: &[SignedHead], report: &mut Report) -> Result<(), QueryError> {
    let tree = match Tree::read(tx, id).await {
        Ok(tree) => tree,
        // The verification of its leaves reports this.
        Err(error) if error.kind == StoreErrorKind::Unexpected => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (inside, beyond): (Vec<&SignedHead>, Vec<&SignedHead>) = signed_heads
        .iter()
        .partition(|head| (0..=tree.size()).contains(&head.size));
    for head in beyond {
        report.add(
            "altered-tree",
            &tree.id,
            format!("checkpoint {} signs a larger tree", head.number),
        );
    }
    for head in inside {
        let root = tree.ranges(tx, &[(0, head.size as u64)]).await?;
        if root.and_then(|root| root.first().map(hex)).as_ref() != Some(&head.root) {
            let detail = format!("checkpoint {} signs a different root", head.number);
            report.add("altered-tree", &tree.id, detail);
        }
    }
    Ok(())
}
