//! Checkpoints: their signatures, their chain, and the trees that they are about.

use std::collections::BTreeMap;

use contracts::{CheckpointSigned, Record as _, topics};
use ed25519_dalek::{Signature, VerifyingKey};
use futures::TryStreamExt;
use messaging::ledger::StoreErrorKind;
use mongo::{Tx, store_error};
use mongodb::bson::{self, Document, doc};
use serde_json::Value;

use super::{Report, Unanswered};
use crate::checkpoint::{self, Checkpoint};
use crate::entry::hex;
use crate::notary::Signed;
use crate::signer::key_id;
use crate::store::{CHECKPOINTS, ENTRIES};
use crate::tree::{Tree, TreeId};

/// Checkpoints that are looked at together.
const STEP: i64 = 50;

/// A head that a checkpoint has, and the one before had not.
struct Claim {
    number: i64,
    size: i64,
    root: String,
}

/// Verifies the checkpoints from number `from` on. Answers where to go on.
pub(super) async fn verify(
    tx: &mut Tx,
    topic: Option<&str>,
    from: i64,
    report: &mut Report,
) -> Result<Option<i64>, Unanswered> {
    let found = read(tx, from).await?;
    let next = (found.len() as i64 > STEP).then_some(from.max(1) + STEP);
    let mut claims: BTreeMap<TreeId, Vec<Claim>> = BTreeMap::new();
    let mut before: Option<(Signed, Option<Checkpoint>)> = None;
    let mut expected = from.max(1);
    for document in found {
        let number = document.get("_id").map(ToString::to_string).unwrap_or_default();
        let Ok(signed) = bson::deserialize_from_document::<Signed>(document) else {
            report.wrong("altered-checkpoint", number, "it is none any more");
            continue;
        };
        let said = Checkpoint::parse(&signed.text);
        if signed.number < from {
            before = Some((signed, said));
            continue;
        }
        if signed.number >= from.max(1) + STEP {
            break;
        }
        report.checked.checkpoints += 1;
        for missing in expected..signed.number {
            report.wrong("missing-checkpoint", missing, "a later one is there");
        }
        expected = signed.number + 1;
        if let Some(what) = wrong(&signed, said.as_ref()) {
            report.wrong("altered-checkpoint", signed.number, what);
        }
        let last = before.as_ref().map(|(signed, _)| checkpoint::hash(&signed.text));
        if said.as_ref().is_some_and(|said| said.previous_hash != last) {
            report.wrong("broken-chain", signed.number, "it does not follow the one before");
        }
        if let Some(said) = &said {
            let earlier = before.as_ref().and_then(|(_, said)| said.as_ref());
            claim(said, earlier, topic, &mut claims, report);
        }
        before = Some((signed, said));
    }
    for (id, claims) in claims {
        compare(tx, id, &claims, report).await?;
    }
    if next.is_none() {
        // Each was said on the topic `audit`, which is in the log too.
        for missing in expected..=newest_said(tx).await?.unwrap_or(0) {
            report.wrong("missing-checkpoint", missing, "the log has its announcement");
        }
    }
    Ok(next)
}

/// The number of the newest checkpoint that was said.
async fn newest_said(tx: &mut Tx) -> Result<Option<i64>, Unanswered> {
    let entries = tx.collection::<Document>(ENTRIES);
    let newest = entries
        .find_one(doc! { "type": CheckpointSigned::NAME, "_id.topic": topics::AUDIT.name })
        .sort(doc! { "time": -1, "_id": -1 })
        .projection(doc! { "content": 1 })
        .session(tx.session());
    let newest = newest.await.map_err(store_error)?;
    let content = newest.as_ref().and_then(|entry| entry.get_str("content").ok());
    let said: Option<Value> = content.and_then(|content| serde_json::from_str(content).ok());
    Ok(said.and_then(|said| said["number"].as_i64()))
}

/// Those of a step, the one before it, and one after it, if there is one.
async fn read(tx: &mut Tx, from: i64) -> Result<Vec<Document>, Unanswered> {
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

/// What is wrong with a checkpoint alone.
fn wrong(signed: &Signed, said: Option<&Checkpoint>) -> Option<&'static str> {
    let Some(said) = said else {
        return Some("its text is none");
    };
    let beside = said.number == signed.number
        && said.id == mongo::from_bson(signed.id)
        && said.signed_at.as_micros() == signed.signed_at
        && said.key_id == signed.key_id;
    if !beside {
        return Some("it says otherwise than its text");
    }
    if key_id(&signed.public_key.bytes) != said.key_id {
        return Some("its key has another id");
    }
    let key = signed.public_key.bytes.as_slice().try_into().ok();
    let key = key.and_then(|key| VerifyingKey::from_bytes(key).ok());
    let signature = Signature::from_slice(&signed.signature.bytes).ok();
    let is_signed = key
        .zip(signature)
        .is_some_and(|(key, signature)| key.verify_strict(signed.text.as_bytes(), &signature).is_ok());
    (!is_signed).then_some("its signature is not of this text and key")
}

/// What a checkpoint says that the one before did not.
fn claim(
    said: &Checkpoint,
    earlier: Option<&Checkpoint>,
    topic: Option<&str>,
    claims: &mut BTreeMap<TreeId, Vec<Claim>>,
    report: &mut Report,
) {
    let is_asked = |name: &str| topic.is_none_or(|topic| topic == name);
    for head in said.heads.iter().filter(|head| is_asked(&head.topic)) {
        let earlier = earlier.and_then(|earlier| earlier.head(&head.topic, head.partition));
        if earlier != Some(head) {
            let id = TreeId::new(&head.topic, head.partition);
            claims.entry(id).or_default().push(Claim {
                number: said.number,
                size: head.size,
                root: head.root.clone(),
            });
        }
    }
    for head in earlier.iter().flat_map(|earlier| &earlier.heads) {
        let now = said.head(&head.topic, head.partition);
        if is_asked(&head.topic) && now.is_none_or(|now| now.size < head.size) {
            let tree = TreeId::new(&head.topic, head.partition);
            report.wrong("altered-checkpoint", said.number, format!("{tree} has shrunk"));
        }
    }
}

async fn compare(tx: &mut Tx, id: TreeId, claims: &[Claim], report: &mut Report) -> Result<(), Unanswered> {
    let tree = match Tree::read(tx, id).await {
        Ok(tree) => tree,
        // Verifying its leaves says so.
        Err(error) if error.kind == StoreErrorKind::Unexpected => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (inside, beyond): (Vec<&Claim>, Vec<&Claim>) =
        claims.iter().partition(|claim| (0..=tree.size()).contains(&claim.size));
    for claim in beyond {
        report.wrong(
            "altered-tree",
            &tree.id,
            format!("checkpoint {} has signed more of it", claim.number),
        );
    }
    for claim in inside {
        let root = tree.ranges(tx, &[(0, claim.size as u64)]).await?;
        if root.and_then(|root| root.first().map(hex)).as_ref() != Some(&claim.root) {
            let detail = format!("checkpoint {} has signed another root", claim.number);
            report.wrong("altered-tree", &tree.id, detail);
        }
    }
    Ok(())
}
