//! Signs checkpoints. Every process has one, and the number of a checkpoint is unique: who is second, waits.

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

/// Signs all heads every now and then.
pub struct Notary {
    pub ledger: Mongo,
    pub publisher: Publisher<Mongo>,
    pub signer: Signer,
    /// Time from one checkpoint to the next, at least.
    pub every: Duration,
}

/// A checkpoint, as it is stored. All that it says is in its text; what is beside it is for finding it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Signed {
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
                    tracing::warn!(
                        error = error_chain(&failure),
                        "no checkpoint was signed; it is tried again"
                    );
                    self.every
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Another process may have signed meanwhile.
    async fn wait(&self) -> Duration {
        let newest = self.ledger.collection::<Document>(CHECKPOINTS);
        let newest = newest.find_one(doc! {}).sort(doc! { "_id": -1 }).await.ok().flatten();
        let signed_at = newest.and_then(|newest| newest.get_i64("signed_at").ok());
        let signed_at = signed_at.and_then(|micros| Timestamp::from_micros(micros).ok());
        let age = signed_at.map_or(Duration::ZERO, |time| Timestamp::now().since(time));
        // Nothing was new: the next look is a whole period from now.
        self.every
            .checked_sub(age)
            .filter(|wait| !wait.is_zero())
            .unwrap_or(self.every)
    }

    /// Signs a checkpoint, if one is due and there is something new outside of the topic `audit`. Answers its number.
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
        if !has_news(before.as_ref(), &heads) {
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
        let signed = Signed {
            number: checkpoint.number,
            id: to_bson(checkpoint.id),
            signed_at: now.as_micros(),
            text,
            key_id: checkpoint.key_id.clone(),
            public_key: binary(&self.signer.public_key()),
            signature: binary(&signature),
        };
        let tx = unit.tx();
        let checkpoints = tx.collection::<Signed>(CHECKPOINTS);
        checkpoints
            .insert_one(signed)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let number = checkpoint.number;
        let said = CheckpointSigned {
            checkpoint_id: checkpoint.id,
            signed_at: now,
            heads: checkpoint.heads,
            previous: previous.map(|previous| mongo::from_bson(previous.id)),
            key_id: checkpoint.key_id,
            signature: base64(signature),
            number,
            previous_hash: checkpoint.previous_hash,
        };
        let cause = own_cause(checkpoint.id);
        unit.publish(&cause, Outgoing::<AuditFact>::new(checkpoint.id, said))?;
        unit.commit().await.map_err(Failure::retry)?;
        tracing::info!(number, "a checkpoint was signed");
        Ok(Some(number))
    }
}

/// What this service says of its own accord begins a chain.
pub(crate) fn own_cause(id: Uuid) -> Cause {
    Cause::origin(id, Some(Actor::service(env!("CARGO_PKG_NAME"))), Default::default())
}

pub(crate) async fn newest(tx: &mut Tx) -> Result<Option<Signed>, StoreError> {
    let newest = tx.collection::<Signed>(CHECKPOINTS);
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

/// A checkpoint is itself recorded, on `audit`: that alone is no reason for another.
fn has_news(before: Option<&Checkpoint>, heads: &[CheckpointHead]) -> bool {
    heads
        .iter()
        .filter(|head| head.topic != topics::AUDIT.name)
        .any(|head| before.and_then(|before| before.head(&head.topic, head.partition)) != Some(head))
}
