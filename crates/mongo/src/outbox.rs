//! The outbox: appended to in the business transaction, emptied by relays.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use contracts::Timestamp;
use futures::TryStreamExt;
use messaging::ledger::{OutboxGauge, OutboxMessage, OutboxRow, StoreError};
use messaging::{Headers, TopicPartition};
use mongodb::bson::{self, Binary, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{batch_size, binary, timestamp};
use crate::{Mongo, Tx, from_bson, store_error, to_bson};

pub(crate) const OUTBOX: &str = "outbox";

/// Up to this many rows are counted; above it the server's own figure is good enough, which drifts a
/// little when the server crashes.
const COUNTED: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    /// A UUID of version 7: in the order of appending, as far as this process can tell.
    #[serde(rename = "_id")]
    id: bson::Uuid,
    /// None until a delayed row is due.
    owner: Option<bson::Uuid>,
    /// When it may be published: the time it was appended, or `due_at`.
    ready_at: i64,
    due_at: Option<i64>,
    topic: Cow<'a, str>,
    key: bson::Uuid,
    value: Option<Binary>,
    headers: Cow<'a, Headers>,
}

impl Row<'_> {
    fn into_message(self) -> Result<OutboxMessage, StoreError> {
        Ok(OutboxMessage {
            topic: self.topic.into_owned(),
            key: from_bson(self.key),
            value: self.value.map(|value| Bytes::from(value.bytes)),
            headers: self.headers.into_owned(),
            due_at: self.due_at.map(timestamp).transpose()?,
        })
    }
}

/// The fields of the index that every look at the outbox goes through.
pub(crate) fn order() -> Document {
    doc! { "owner": 1, "ready_at": 1, "_id": 1 }
}

/// The server's clock, in microseconds since the epoch. It is a constant to the query planner, so that
/// comparisons with it use the index.
fn now() -> Document {
    doc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] }
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    owner: Option<bson::Uuid>,
}

#[derive(Deserialize)]
struct Wait {
    micros: i64,
}

impl Mongo {
    pub(crate) async fn append_rows(
        &self,
        tx: &mut Tx,
        owner: Uuid,
        messages: &[OutboxMessage],
    ) -> Result<Vec<Uuid>, StoreError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let now = Timestamp::now().as_micros();
        let ids: Vec<_> = messages.iter().map(|_| Uuid::now_v7()).collect();
        let rows = messages.iter().zip(&ids).map(|(message, id)| {
            let due_at = message.due_at.map(Timestamp::as_micros);
            Row {
                id: to_bson(*id),
                owner: due_at.is_none().then(|| to_bson(owner)),
                ready_at: due_at.unwrap_or(now),
                due_at,
                topic: Cow::Borrowed(&message.topic),
                key: to_bson(message.key),
                value: message.value.as_ref().map(binary),
                headers: Cow::Borrowed(&message.headers),
            }
        });
        tx.collection(OUTBOX)
            .insert_many(rows)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(ids)
    }

    pub(crate) async fn forget_delayed(&self, tx: &mut Tx, topics: &[String], keys: &[Uuid]) -> Result<(), StoreError> {
        let keys: Vec<_> = keys.iter().copied().map(to_bson).collect();
        tx.collection::<Document>(OUTBOX)
            .delete_many(doc! { "owner": null, "topic": { "$in": topics }, "key": { "$in": keys } })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(())
    }

    /// First the offsets, then the rows go: a crash in between publishes again, which is harmless, and
    /// never leaves a published row without its offset.
    pub(crate) async fn acknowledge_rows(
        &self,
        rows: &[(Uuid, Uuid)],
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), StoreError> {
        self.keep_offsets(offsets).await?;
        let mut by_owner: HashMap<Uuid, Vec<bson::Uuid>> = HashMap::new();
        for (id, owner) in rows {
            by_owner.entry(*owner).or_default().push(to_bson(*id));
        }
        for (owner, ids) in by_owner {
            self.collection::<Document>(OUTBOX)
                .delete_many(doc! { "_id": { "$in": ids }, "owner": to_bson(owner) })
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    pub(crate) async fn own_rows(
        &self,
        owner: Uuid,
        min_age: Duration,
        limit: i64,
    ) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        let mut filter = doc! { "owner": to_bson(owner) };
        // Own rows carry the own clock. Without an age there is no bound either: no row may hide behind a
        // clock that was set back.
        if !min_age.is_zero() {
            let settled = Timestamp::now() - min_age;
            filter.insert("ready_at", doc! { "$lte": settled.as_micros() });
        }
        self.rows(filter, limit).await
    }

    pub(crate) async fn due_rows(
        &self,
        owner: Uuid,
        limit: i64,
    ) -> Result<(Vec<OutboxRow<Uuid>>, Option<Duration>), StoreError> {
        // Most often there is nothing due, and this one look says so.
        match self.wait_for_due().await? {
            Some(wait) if wait.is_zero() => {}
            wait => return Ok((Vec::new(), wait)),
        }
        let due = doc! { "owner": null, "$expr": { "$lte": ["$ready_at", now()] } };
        let ids: Vec<_> = self.find(due, limit).await?.into_iter().map(|found| found.id).collect();
        let rows = self.claim(owner, &ids, bson::Bson::Null).await?;
        Ok((rows, self.wait_for_due().await?))
    }

    pub(crate) async fn orphaned_rows(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        let mut owned: Vec<bson::Bson> = self.live_owners().await?.into_iter().map(bson::Bson::from).collect();
        // One's own rows are not adopted, even if one's own lease has just run out.
        owned.push(to_bson(owner).into());
        owned.push(bson::Bson::Null);
        let found = self.find(doc! { "owner": { "$nin": owned } }, limit).await?;
        let ids: Vec<_> = found.iter().map(|row| row.id).collect();
        let dead: HashSet<_> = found.iter().filter_map(|row| row.owner).collect();
        let dead: Vec<_> = dead.into_iter().collect();
        self.claim(owner, &ids, doc! { "$in": dead }.into()).await
    }

    /// Makes rows one's own whose owner is still `from`; answers those that now are. Who comes second finds
    /// none. That they are read again says that they are majority-committed.
    async fn claim(
        &self,
        owner: Uuid,
        ids: &[bson::Uuid],
        from: bson::Bson,
    ) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let owner = to_bson(owner);
        self.collection::<Document>(OUTBOX)
            .update_many(
                doc! { "_id": { "$in": ids }, "owner": from },
                doc! { "$set": { "owner": owner } },
            )
            .await
            .map_err(store_error)?;
        self.rows(doc! { "_id": { "$in": ids }, "owner": owner }, ids.len() as i64)
            .await
    }

    async fn find(&self, filter: Document, limit: i64) -> Result<Vec<Found>, StoreError> {
        self.collection::<Found>(OUTBOX)
            .find(filter)
            .projection(doc! { "_id": 1, "owner": 1 })
            .sort(order())
            .limit(limit)
            .batch_size(batch_size(limit))
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)
    }

    async fn rows(&self, filter: Document, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        let rows: Vec<Row<'static>> = self
            .collection(OUTBOX)
            .find(filter)
            .sort(doc! { "ready_at": 1, "_id": 1 })
            .limit(limit)
            .batch_size(batch_size(limit))
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        rows.into_iter()
            .filter_map(|row| row.owner.map(|owner| (owner, row)))
            .map(|(owner, row)| {
                Ok(OutboxRow {
                    id: from_bson(row.id),
                    owner: from_bson(owner),
                    message: row.into_message()?,
                })
            })
            .collect()
    }

    /// Messages that a filter finds, due or not, without their values.
    pub(crate) async fn find_said(&self, filter: Document, limit: i64) -> Result<Vec<OutboxMessage>, StoreError> {
        let rows: Vec<Row<'static>> = self
            .collection(OUTBOX)
            .find(filter)
            .projection(doc! { "value": 0 })
            .limit(limit)
            .await
            .map_err(store_error)?
            .try_collect()
            .await
            .map_err(store_error)?;
        rows.into_iter().map(Row::into_message).collect()
    }

    /// How long until the next delayed row is due: zero if one is.
    async fn wait_for_due(&self) -> Result<Option<Duration>, StoreError> {
        let next = self
            .micros([
                doc! { "$match": { "owner": null } },
                doc! { "$sort": order() },
                doc! { "$limit": 1 },
                doc! { "$project": { "micros": { "$subtract": ["$ready_at", now()] } } },
            ])
            .await?;
        Ok(next.map(duration))
    }

    pub(crate) async fn measure_outbox(&self) -> Result<OutboxGauge, StoreError> {
        let outbox = self.collection::<Document>(OUTBOX);
        let mut rows = outbox.estimated_document_count().await.map_err(store_error)?;
        if rows < COUNTED {
            rows = outbox.count_documents(doc! {}).await.map_err(store_error)?;
        }
        let oldest = self
            .micros([
                // The first of every owner: as many index entries are read as there are owners.
                doc! { "$sort": order() },
                doc! { "$group": { "_id": "$owner", "ready_at": { "$first": "$ready_at" } } },
                doc! { "$group": { "_id": null, "oldest": { "$min": "$ready_at" } } },
                doc! { "$project": { "micros": { "$subtract": [now(), "$oldest"] } } },
            ])
            .await?;
        Ok(OutboxGauge {
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            oldest_age: oldest.map(duration).unwrap_or_default(),
        })
    }

    async fn micros(&self, pipeline: impl IntoIterator<Item = Document>) -> Result<Option<i64>, StoreError> {
        let wait: Option<Wait> = self
            .collection::<Document>(OUTBOX)
            .aggregate(pipeline)
            .with_type()
            .await
            .map_err(store_error)?
            .try_next()
            .await
            .map_err(store_error)?;
        Ok(wait.map(|wait| wait.micros))
    }
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
