use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use contracts::Timestamp;
use futures::TryStreamExt;
use messaging::ledger::{MAX_SEARCHED_ROWS, Outbox, OutboxGauge, OutboxMessage, OutboxRow, StoreError};
use messaging::{Headers, TopicPartition, header};
use mongodb::bson::{self, Binary, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{batch_size, binary, names, partition_id, timestamp};
use crate::leases::expire_after;
use crate::{Mongo, Tx, Update, fast, from_bson, store_error, to_bson};

pub(crate) const OUTBOX: &str = "outbox";
pub(crate) const OFFSETS: &str = "relay_offsets";

/// Number of rows up to which they are counted. Above it, the server's estimate is good enough; it drifts a little when the
/// server crashes.
const MAX_COUNTED: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    /// A UUID of version 7, in the order of the appends of one process.
    #[serde(rename = "_id")]
    id: bson::Uuid,
    /// `None` until a delayed row is due.
    owner: Option<bson::Uuid>,
    /// The time from which it may be published: the time of the append, or `due_at`. In microseconds since the epoch.
    ready_at: i64,
    due_at: Option<i64>,
    topic: Cow<'a, str>,
    key: bson::Uuid,
    value: Option<Binary>,
    headers: Cow<'a, Headers>,
    /// Only in a delayed row, because the index on it must not cost every message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
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

/// The fields of the index that every query of the outbox uses.
pub(crate) fn order() -> Document {
    doc! { "owner": 1, "ready_at": 1, "_id": 1 }
}

/// The server's clock, in microseconds since the epoch. It is a constant to the query planner, so comparisons with it
/// use the index.
fn now() -> Document {
    doc! { "$multiply": [{ "$toLong": "$$NOW" }, 1_000_i64] }
}

#[derive(Deserialize)]
struct RowOwner {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    owner: Option<bson::Uuid>,
}

#[derive(Deserialize)]
struct Micros {
    micros: i64,
}

impl Outbox for Mongo {
    type RowId = Uuid;

    async fn append(&self, tx: &mut Tx, owner: Uuid, messages: &[OutboxMessage]) -> Result<Vec<Uuid>, StoreError> {
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
                names: due_at.map(|_| names(&message.headers)).unwrap_or_default(),
            }
        });
        tx.collection(OUTBOX)
            .insert_many(rows)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(ids)
    }

    async fn acknowledge(&self, rows: &[(Uuid, Uuid)], offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        // The offsets first: a crash in between publishes rows twice, which is harmless, but never deletes a published row
        // without its offset. A fail-over that undoes the first write also undoes the second.
        self.save_offsets(offsets).await?;
        let mut by_owner: HashMap<Uuid, Vec<bson::Uuid>> = HashMap::new();
        for (id, owner) in rows {
            by_owner.entry(*owner).or_default().push(to_bson(*id));
        }
        for (owner, ids) in by_owner {
            self.collection::<Document>(OUTBOX)
                .delete_many(doc! { "_id": { "$in": ids }, "owner": to_bson(owner) })
                .write_concern(fast())
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    async fn sweep(&self, owner: Uuid, min_age: Duration, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        self.settle_acknowledgements().await?;
        let mut filter = doc! { "owner": to_bson(owner) };
        // The rows have the time of this process's own clock. Without a minimum age there is no bound, so no row is
        // overlooked because the clock was set back.
        if !min_age.is_zero() {
            let settled = Timestamp::now() - min_age;
            filter.insert("ready_at", doc! { "$lte": settled.as_micros() });
        }
        self.rows(filter, limit).await
    }

    async fn take_due(&self, owner: Uuid, limit: i64) -> Result<(Vec<OutboxRow<Uuid>>, Option<Duration>), StoreError> {
        // Usually nothing is due, and this one query is enough.
        match self.time_until_due().await? {
            Some(wait) if wait.is_zero() => {}
            wait => return Ok((Vec::new(), wait)),
        }
        let due = doc! { "owner": null, "$expr": { "$lte": ["$ready_at", now()] } };
        let ids: Vec<_> = self.find(due, limit).await?.into_iter().map(|found| found.id).collect();
        let rows = self.take_rows(owner, &ids, bson::Bson::Null).await?;
        Ok((rows, self.time_until_due().await?))
    }

    async fn adopt(&self, owner: Uuid, limit: i64) -> Result<Vec<OutboxRow<Uuid>>, StoreError> {
        let mut owned: Vec<bson::Bson> = self
            .find_live_owners()
            .await?
            .into_iter()
            .map(bson::Bson::from)
            .collect();
        // A relay does not adopt its own rows, even if its own lease has just expired.
        owned.push(to_bson(owner).into());
        owned.push(bson::Bson::Null);
        let found = self.find(doc! { "owner": { "$nin": owned } }, limit).await?;
        let ids: Vec<_> = found.iter().map(|row| row.id).collect();
        let dead: HashSet<_> = found.iter().filter_map(|row| row.owner).collect();
        let dead: Vec<_> = dead.into_iter().collect();
        self.take_rows(owner, &ids, doc! { "$in": dead }.into()).await
    }

    async fn start_lease(&self, owner: Uuid, length: Duration) -> Result<(), StoreError> {
        self.leases()?
            .update_one(doc! { "_id": to_bson(owner) }, expire_after(length))
            .upsert(true)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn renew_lease(&self, owner: Uuid, length: Duration) -> Result<bool, StoreError> {
        let live = doc! { "_id": to_bson(owner), "$expr": { "$gt": ["$until", "$$NOW"] } };
        let result = self
            .leases()?
            .update_one(live, expire_after(length))
            .await
            .map_err(store_error)?;
        Ok(result.matched_count == 1)
    }

    async fn end_lease(&self, owner: Uuid) -> Result<(), StoreError> {
        self.leases()?
            .delete_one(doc! { "_id": to_bson(owner) })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn outbox_gauge(&self) -> Result<OutboxGauge, StoreError> {
        let outbox = self.collection::<Document>(OUTBOX);
        let mut rows = outbox.estimated_document_count().await.map_err(store_error)?;
        if rows < MAX_COUNTED {
            rows = outbox.count_documents(doc! {}).await.map_err(store_error)?;
        }
        let oldest = self
            .micros([
                // The first row of every owner: this reads one index entry per owner.
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
}

impl Mongo {
    /// Waits until the deletions of acknowledged rows are majority-committed, so that a majority read does not return these
    /// rows.
    async fn settle_acknowledgements(&self) -> Result<(), StoreError> {
        // A write that changes nothing waits for all writes before it.
        self.collection::<Document>(OUTBOX)
            .delete_one(doc! { "_id": to_bson(Uuid::nil()) })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    /// Stores the newest acknowledged offsets.
    async fn save_offsets(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), StoreError> {
        let updates = offsets.iter().map(|(partition, offset)| Update {
            filter: doc! { "_id": partition_id(partition) },
            change: doc! { "$max": { "offset": *offset } },
            upsert: true,
        });
        self.update_each(OFFSETS, updates, &fast()).await?;
        Ok(())
    }

    /// Makes `owner` the owner of those rows that still belong to `from`.
    ///
    /// Returns these rows. A second caller finds none. They are read again, because the majority read proves that the
    /// change is majority-committed.
    async fn take_rows(
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

    async fn find(&self, filter: Document, limit: i64) -> Result<Vec<RowOwner>, StoreError> {
        self.collection::<RowOwner>(OUTBOX)
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

    /// Returns the messages that are named by this id, due or not, without their values.
    pub(crate) async fn find_outbox_messages(&self, name: &str, limit: i64) -> Result<Vec<OutboxMessage>, StoreError> {
        let headers = [header::ID, header::CORRELATION_ID].map(|header| bson::bson!([header, name]));
        let (without_value, limited) = (doc! { "$project": { "value": 0 } }, doc! { "$limit": limit });
        // The rows that are not delayed have an owner.
        let ready = [
            doc! { "$match": { "owner": { "$type": "binData" } } },
            doc! { "$sort": order() },
            doc! { "$limit": MAX_SEARCHED_ROWS },
            doc! { "$match": { "headers": { "$in": headers.to_vec() } } },
            limited.clone(),
            without_value.clone(),
        ];
        let delayed = [
            doc! { "$match": { "owner": null, "names": name } },
            limited,
            without_value,
        ];
        let mut found = Vec::new();
        for pipeline in [ready.to_vec(), delayed.to_vec()] {
            let rows: Vec<Row<'static>> = self
                .collection::<Document>(OUTBOX)
                .aggregate(pipeline)
                .with_type()
                .await
                .map_err(store_error)?
                .try_collect()
                .await
                .map_err(store_error)?;
            for row in rows {
                found.push(row.into_message()?);
            }
        }
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// Returns the time until the next delayed row is due: zero if one is due, `None` if no row is delayed.
    async fn time_until_due(&self) -> Result<Option<Duration>, StoreError> {
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

    async fn micros(&self, pipeline: impl IntoIterator<Item = Document>) -> Result<Option<i64>, StoreError> {
        let found: Option<Micros> = self
            .collection::<Document>(OUTBOX)
            .aggregate(pipeline)
            .with_type()
            .await
            .map_err(store_error)?
            .try_next()
            .await
            .map_err(store_error)?;
        Ok(found.map(|found| found.micros))
    }
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
