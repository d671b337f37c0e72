//! The documents of dead letters.

use std::borrow::Cow;

use contracts::DeadLetterReason;
use futures::TryStreamExt;
use messaging::ledger::{DeadLetter, StoreError, StoredDeadLetter};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};

use crate::documents::{RecordDocument, names};
use crate::{Mongo, from_bson, store_error, to_bson};

pub(crate) const DEAD_LETTERS: &str = "dead_letters";

#[derive(Serialize, Deserialize)]
pub(crate) struct DeadLetterDocument<'a> {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    reason: DeadLetterReason,
    detail: Cow<'a, str>,
    record: RecordDocument<'a>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_as: Option<bson::Uuid>,
}

impl Mongo {
    /// Returns the dead letters that match a filter, newest first, without their values.
    pub(crate) async fn find_dead_letters(
        &self,
        filter: Document,
        limit: i64,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let documents: Vec<DeadLetterDocument<'static>> = self
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
        documents.into_iter().map(DeadLetterDocument::into_stored).collect()
    }
}

impl<'a> From<&'a DeadLetter> for DeadLetterDocument<'a> {
    fn from(dead_letter: &'a DeadLetter) -> Self {
        Self {
            id: to_bson(dead_letter.id),
            reason: dead_letter.reason,
            detail: Cow::Borrowed(&dead_letter.detail),
            record: RecordDocument::from(&dead_letter.record),
            names: names(&dead_letter.record.headers),
            redriven_as: None,
        }
    }
}

impl DeadLetterDocument<'_> {
    pub(crate) fn into_stored(self) -> Result<StoredDeadLetter, StoreError> {
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
