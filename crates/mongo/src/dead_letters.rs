//! Records that nobody will apply, with their bytes.

use std::borrow::Cow;

use contracts::DeadLetterReason;
use futures::TryStreamExt;
use messaging::ledger::{DeadLetter, StoreError, StoredDeadLetter};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{RecordDocument, binary};
use crate::{Mongo, Tx, from_bson, store_error, to_bson};

pub(crate) const DEAD_LETTERS: &str = "dead_letters";

#[derive(Serialize, Deserialize)]
struct LetterDocument<'a> {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    reason: DeadLetterReason,
    detail: Cow<'a, str>,
    record: RecordDocument<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_as: Option<bson::Uuid>,
}

impl Mongo {
    pub(crate) async fn add_letters(&self, tx: &mut Tx, letters: &[DeadLetter]) -> Result<(), StoreError> {
        if letters.is_empty() {
            return Ok(());
        }
        let documents = letters.iter().map(|letter| LetterDocument {
            id: to_bson(letter.id),
            reason: letter.reason,
            detail: Cow::Borrowed(&letter.detail),
            record: RecordDocument::from(&letter.record),
            redriven_as: None,
        });
        tx.collection(DEAD_LETTERS)
            .insert_many(documents)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn forget_letters(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        let texts = keys.iter().map(ToString::to_string);
        let subjects: Vec<_> = texts.clone().map(|key| bson::bson!(["ce_subject", key])).collect();
        let keyed: Vec<_> = texts.map(|key| binary(&key.into())).collect();
        tx.collection::<Document>(DEAD_LETTERS)
            .delete_many(doc! { "record.topic": { "$in": topics }, "$or": [
                { "record.key": { "$in": keyed } },
                { "record.headers": { "$in": subjects } },
            ] })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn count_dead_letters(&self) -> Result<i64, StoreError> {
        let count = self
            .collection::<Document>(DEAD_LETTERS)
            .count_documents(doc! { "redriven_as": null })
            .await
            .map_err(store_error)?;
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(crate) async fn read_letters(
        &self,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let filter = before.map_or_else(Document::new, |id| doc! { "_id": { "$lt": to_bson(id) } });
        self.find_letters(filter, limit).await
    }

    /// Letters that a filter finds, the newest first, without their values.
    pub(crate) async fn find_letters(&self, filter: Document, limit: i64) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let documents: Vec<LetterDocument<'static>> = self
            .collection(DEAD_LETTERS)
            .find(filter)
            .projection(doc! { "record.value": 0 })
            .sort(doc! { "_id": -1 })
            .limit(limit)
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        documents.into_iter().map(LetterDocument::into_kept).collect()
    }

    pub(crate) async fn read_letter(&self, tx: &mut Tx, id: Uuid) -> Result<Option<StoredDeadLetter>, StoreError> {
        let letters = tx.collection::<LetterDocument<'static>>(DEAD_LETTERS);
        let found = letters
            .find_one(doc! { "_id": to_bson(id) })
            .session(tx.session())
            .await;
        found.map_err(store_error)?.map(LetterDocument::into_kept).transpose()
    }

    pub(crate) async fn note_redriven(&self, tx: &mut Tx, id: Uuid, command: Uuid) -> Result<(), StoreError> {
        tx.collection::<Document>(DEAD_LETTERS)
            .update_one(
                doc! { "_id": to_bson(id) },
                doc! { "$set": { "redriven_as": to_bson(command) } },
            )
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn delete_letter(&self, tx: &mut Tx, id: Uuid) -> Result<bool, StoreError> {
        let deleted = tx
            .collection::<Document>(DEAD_LETTERS)
            .delete_one(doc! { "_id": to_bson(id) })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(deleted.deleted_count == 1)
    }
}

impl LetterDocument<'_> {
    fn into_kept(self) -> Result<StoredDeadLetter, StoreError> {
        Ok(StoredDeadLetter {
            dead_letter: DeadLetter {
                id: from_bson(self.id),
                reason: self.reason,
                detail: self.detail.into_owned(),
                record: self.record.into_record()?,
            },
            redriven_as: self.redriven_as.map(from_bson),
        })
    }
}
