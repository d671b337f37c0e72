//! Signs checkpoints. Every process runs a notary. The number of a checkpoint is unique, so the second process conflicts and
//! waits.

use std::time::Duration;

use chassis::error_chain;
use contracts::{Actor, AuditFact, CheckpointHead, CheckpointSigned, Timestamp, topics};
use messaging::ledger::StoreError;
use messaging::{Cause, Failure, Outgoing, Publisher, Unit};
use mongo::{Mongo, Tx, store_error, to_bson};
use mongodb::bson::{self, Binary, Document, doc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::checkpoint::{self, Checkpoint};
use crate::entry::{base64, binary, hex};
use crate::signer::Signer;
use crate::store::CHECKPOINTS;
use crate::tree::Tree;

/// Signs the heads of all trees at regular intervals.
pub struct Notary {
    pub ledger: Mongo,
    pub publisher: Publisher<Mongo>,
    pub signer: Signer,
    /// Minimum time between two checkpoints.
    pub every: Duration,
}

/// A checkpoint, as it is stored. Its text contains everything that is signed; the other fields serve to find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredCheckpoint {
    #[serde(rename = "_id")]
    pub(crate) number: i64,
    pub(crate) id: bson::Uuid,
    pub(crate) signed_at: i64,
    pub(crate) text: String,
    pub(crate) key_id: String,
    pub(crate) public_key: Binary,
    pub(crate) signature: Binary,
}

impl Notary {
    /// Signs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let wait = match self.sign(Timestamp::now()).await {
                Ok(_) => self.wait().await,
                Err(failure) => {
                    tracing::warn!(error = error_chain(&failure), "cannot sign the checkpoint; retrying");
                    self.every
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Returns the time until the next checkpoint is due. Another process may have signed one meanwhile.
    async fn wait(&self) -> Duration {
        let newest = self.ledger.collection::<Document>(CHECKPOINTS);
        let newest = newest.find_one(doc! {}).sort(doc! { "_id": -1 }).await.ok().flatten();
        let signed_at = newest.and_then(|newest| newest.get_i64("signed_at").ok());
        let signed_at = signed_at.and_then(|micros| Timestamp::from_micros(micros).ok());
        let age = signed_at.map_or(Duration::ZERO, |time| Timestamp::now().since(time));
        // If the time has passed, nothing had changed, and the next check is a whole interval from now.
        self.every
            .checked_sub(age)
            .filter(|wait| !wait.is_zero())
            .unwrap_or(self.every)
    }

    /// Signs a checkpoint if one is due and a tree outside the topic `audit` has grown. Returns its number, or `None` if none was
    /// signed.
    pub async fn sign(&self, now: Timestamp) -> Result<Option<i64>, Failure> {
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        let previous = newest(unit.tx()).await?;
        let is_due = previous.as_ref().is_none_or(|previous| {
            let signed_at = Timestamp::from_micros(previous.signed_at).unwrap_or(Timestamp::EPOCH);
            now.since(signed_at) >= self.every
        });
        if !is_due {
            unit.rollback().await;
            return Ok(None);
        }
        let heads = heads(unit.tx()).await?;
        let before = previous.as_ref().and_then(|previous| Checkpoint::parse(&previous.text));
        if !have_grown(before.as_ref(), &heads) {
            unit.rollback().await;
            return Ok(None);
        }
        let checkpoint = Checkpoint {
            number: previous.as_ref().map_or(1, |previous| previous.number + 1),
            id: Uuid::now_v7(),
            signed_at: now,
            key_id: self.signer.key_id().to_owned(),
            previous_hash: previous.as_ref().map(|previous| checkpoint::hash(&previous.text)),
            heads,
        };
        let text = checkpoint.text();
        let signature = self.signer.sign(&text);
        let signed = StoredCheckpoint {
            number: checkpoint.number,
            id: to_bson(checkpoint.id),
            signed_at: now.as_micros(),
            text,
            key_id: checkpoint.key_id.clone(),
            public_key: binary(&self.signer.public_key()),
            signature: binary(&signature),
        };
        let tx = unit.tx();
        let checkpoints = tx.collection::<StoredCheckpoint>(CHECKPOINTS);
        checkpoints
            .insert_one(signed)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let number = checkpoint.number;
        let fact = CheckpointSigned {
            checkpoint_id: checkpoint.id,
            signed_at: now,
            heads: checkpoint.heads,
            previous: previous.map(|previous| mongo::from_bson(previous.id)),
            key_id: checkpoint.key_id,
            signature: base64(signature),
            number,
            previous_hash: checkpoint.previous_hash,
        };
        let cause = origin_cause(checkpoint.id);
        unit.publish(&cause, Outgoing::<AuditFact>::new(checkpoint.id, fact))?;
        unit.commit().await.map_err(Failure::retry)?;
        tracing::info!(number, "checkpoint {number} was signed");
        Ok(Some(number))
    }
}

/// Returns the cause of a message that no other message caused.
pub(crate) fn origin_cause(id: Uuid) -> Cause {
    Cause::origin(id, Some(Actor::service(env!("CARGO_PKG_NAME"))), Default::default())
}

pub(crate) async fn newest(tx: &mut Tx) -> Result<Option<StoredCheckpoint>, StoreError> {
    let newest = tx.collection::<StoredCheckpoint>(CHECKPOINTS);
    let newest = newest.find_one(doc! {}).sort(doc! { "_id": -1 }).session(tx.session());
    newest.await.map_err(store_error)
}

async fn heads(tx: &mut Tx) -> Result<Vec<CheckpointHead>, StoreError> {
    let trees = Tree::all(tx).await?.into_iter();
    let heads = trees.map(|tree| CheckpointHead {
        size: tree.size(),
        root: hex(tree.edge.root()),
        topic: tree.id.topic,
        partition: tree.id.partition,
    });
    Ok(heads.collect())
}

/// Returns `true` if a tree other than those of the topic `audit` has grown. Growth of `audit` is ignored, because each
/// checkpoint is recorded there and would cause the next one.
fn have_grown(before: Option<&Checkpoint>, heads: &[CheckpointHead]) -> bool {
    heads
        .iter()
        .filter(|head| head.topic != topics::AUDIT.name)
        .any(|head| before.and_then(|before| before.head(&head.topic, head.partition)) != Some(head))
}
