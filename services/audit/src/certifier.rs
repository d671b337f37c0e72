//! Certifies past hours. Every process runs a certifier; each hour is certified once.
//!
//! An hour is counted outside of a transaction, because a transaction of MongoDB may not last longer than a minute, and the
//! entries of a closed hour do not change. The server groups the entries, on disk if necessary, and returns one row for each
//! topic and producer. Keys with missing numbers are read in chunks. Only the certificate itself is written in a transaction.

use std::time::Duration;

use chassis::error_chain;
use contracts::{AuditFact, CertifiedTopic, DeliveryCertified, Kind, Timestamp};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{Failure, Outgoing, Publisher, Unit};
use mongo::{Mongo, Update, store_error, to_bson};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::certificate::{Gaps, KeyRange, Summary, Total};
use crate::notary::origin_cause;
use crate::recorded;
use crate::store::{CERTIFICATES, CERTIFIED, ENTRIES, STREAMS};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Time after which an ended hour is certified, because some of its records may still be in flight.
const GRACE: Duration = Duration::from_secs(5 * 60);
/// Time for which an incomplete hour is checked again, whenever a later hour is certified.
const RECHECK_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of keys with missing numbers that are read together.
const CHUNK: usize = 1_000;

/// Publishes for every hour whether its domain events are complete.
pub struct Certifier {
    pub ledger: Mongo,
    pub publisher: Publisher<Mongo>,
}

/// A certificate, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    #[serde(rename = "_id")]
    pub(crate) hour: Hour,
    pub(crate) id: bson::Uuid,
    pub(crate) certified_at: i64,
    pub(crate) complete: bool,
    pub(crate) topics: Vec<CertifiedTopic>,
}

/// An hour of UTC, by its first microsecond. If missing messages arrive later, the hour gets another revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hour {
    pub(crate) from: i64,
    /// Number of the certificate of this hour, from 1.
    pub(crate) revision: i32,
}

#[derive(Serialize, Deserialize)]
struct Progress {
    until: i64,
}

#[derive(Deserialize)]
struct TotalRow {
    #[serde(rename = "_id")]
    id: TotalId,
    messages: i64,
    keys: i64,
}

#[derive(Deserialize)]
struct TotalId {
    topic: String,
    #[serde(default)]
    producer: Option<String>,
}

#[derive(Deserialize)]
struct KeyRangeRow {
    #[serde(rename = "_id")]
    id: KeyRangeId,
    lowest: Option<i64>,
    highest: Option<i64>,
}

#[derive(Deserialize)]
struct KeyRangeId {
    topic: String,
    #[serde(default)]
    producer: Option<String>,
    key: bson::Uuid,
}

#[derive(Deserialize)]
struct GapRow {
    #[serde(rename = "_id")]
    id: GapId,
    missing: Vec<(i64, i64)>,
}

#[derive(Deserialize)]
struct GapId {
    topic: String,
    key: bson::Uuid,
}

impl Hour {
    pub(crate) fn until(self) -> i64 {
        self.from + HOUR.as_micros() as i64
    }

    /// Returns the hour that contains a time in microseconds since 1970.
    fn of(micros: i64) -> Self {
        let hour = HOUR.as_micros() as i64;
        Self {
            from: micros.div_euclid(hour) * hour,
            revision: 1,
        }
    }
}

impl Certifier {
    /// Certifies until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(failure) = self.certify(Timestamp::now()).await {
                tracing::warn!(error = error_chain(&failure), "cannot certify an hour; retrying");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Certifies every past hour that is not certified yet. If there was any, also recertifies the hours that have become
    /// complete in the meantime.
    pub async fn certify(&self, now: Timestamp) -> Result<(), Failure> {
        let closed = Hour::of((now - GRACE).as_micros()).from;
        let mut advanced = false;
        while self.advance(closed, now).await? {
            advanced = true;
        }
        if advanced {
            for hour in self.incomplete(now).await? {
                self.recertify(hour, now).await?;
            }
        }
        Ok(())
    }

    /// Certifies the next hour that has domain events, or advances to `closed` if there is none. Returns `false` if all hours
    /// up to `closed` were already certified.
    async fn advance(&self, closed: i64, now: Timestamp) -> Result<bool, Failure> {
        let certified = self.ledger.collection::<Progress>(CERTIFIED);
        let certified = certified.find_one(doc! {}).await.map_err(store_error)?;
        let until = certified.map(|certified| certified.until);
        if until.is_some_and(|until| until >= closed) {
            return Ok(false);
        }
        let next = self.first_event(until, closed).await?.map(Hour::of);
        let reached = next.map_or(closed, Hour::until);
        let summary = match next {
            Some(hour) => self.summarize(hour).await?,
            None => Summary::default(),
        };
        // A second process does not match this filter, or conflicts with this transaction, so each hour is certified once.
        let progress = match until {
            None => Update {
                filter: doc! { "_id": "until", "until": reached },
                change: doc! { "$setOnInsert": { "until": reached } },
                upsert: true,
            },
            Some(until) => Update {
                filter: doc! { "_id": "until", "until": until },
                change: doc! { "$set": { "until": reached } },
                upsert: false,
            },
        };
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        if unit.tx().update_each(CERTIFIED, [progress]).await? == 0 {
            unit.rollback().await;
            return Ok(true);
        }
        if let Some(hour) = next {
            publish(&mut unit, hour, summary, now).await?;
        }
        unit.commit().await.map_err(Failure::retry)?;
        Ok(true)
    }

    /// Returns the hours whose newest certificate is incomplete.
    async fn incomplete(&self, now: Timestamp) -> Result<Vec<Hour>, StoreError> {
        let since = (now - RECHECK_PERIOD).as_micros();
        let certificates = self.ledger.collection::<Document>(CERTIFICATES);
        let newest = certificates.aggregate([
            doc! { "$match": { "_id.from": { "$gte": since } } },
            doc! { "$sort": { "_id.revision": 1 } },
            doc! { "$group": { "_id": "$_id.from", "revision": { "$last": "$_id.revision" }, "complete": { "$last": "$complete" } } },
            doc! { "$match": { "complete": false } },
            doc! { "$project": { "_id": 0, "from": "$_id", "revision": 1 } },
        ]);
        let newest = newest.with_type::<Hour>().await.map_err(store_error)?;
        newest.try_collect().await.map_err(store_error)
    }

    /// Publishes another revision of an hour's certificate, if the hour has become complete.
    async fn recertify(&self, hour: Hour, now: Timestamp) -> Result<(), Failure> {
        // Few keys have missing numbers, so this is known before the whole hour is counted.
        let mut summary = self.missing(hour).await?;
        if !summary.is_complete() {
            return Ok(());
        }
        self.count(hour, &mut summary).await?;
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        let revision = hour.revision + 1;
        publish(&mut unit, Hour { revision, ..hour }, summary, now).await?;
        unit.commit().await.map_err(Failure::retry)
    }

    /// Returns the time of the first domain event that is in a closed hour and not in a certified one.
    async fn first_event(&self, from: Option<i64>, closed: i64) -> Result<Option<i64>, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            time: i64,
        }
        let mut time = doc! { "$lt": closed };
        if let Some(from) = from {
            time.insert("$gte", from);
        }
        let entries = self.ledger.collection::<Row>(ENTRIES);
        let first = entries
            .find_one(doc! { "time": time, "_id.topic": { "$in": domain_topics() } })
            .sort(doc! { "time": 1, "_id": 1 })
            .projection(doc! { "_id": 0, "time": 1 });
        Ok(first.await.map_err(store_error)?.map(|row| row.time))
    }

    /// Returns the content of an hour's certificate.
    async fn summarize(&self, hour: Hour) -> Result<Summary, StoreError> {
        let mut summary = self.missing(hour).await?;
        self.count(hour, &mut summary).await?;
        Ok(summary)
    }

    /// Counts the records and the keys of an hour.
    async fn count(&self, hour: Hour, summary: &mut Summary) -> Result<(), StoreError> {
        let entries = self.ledger.collection::<Document>(ENTRIES);
        let totals = entries
            .aggregate([
                doc! { "$match": in_hour(hour) },
                doc! { "$group": {
                    "_id": { "topic": "$_id.topic", "producer": "$source", "key": "$key" },
                    "messages": { "$sum": 1_i64 },
                } },
                doc! { "$group": {
                    "_id": { "topic": "$_id.topic", "producer": "$_id.producer" },
                    "messages": { "$sum": "$messages" },
                    "keys": { "$sum": 1_i64 },
                } },
            ])
            .allow_disk_use(true)
            .with_type::<TotalRow>();
        let mut totals = totals.await.map_err(store_error)?;
        while let Some(row) = totals.try_next().await.map_err(store_error)? {
            summary.add_total(&Total {
                topic: row.id.topic,
                producer: row.id.producer.unwrap_or_default(),
                messages: row.messages,
                keys: row.keys,
            });
        }
        Ok(())
    }

    /// Returns a summary with the missing numbers of an hour, without its counts.
    async fn missing(&self, hour: Hour) -> Result<Summary, StoreError> {
        let streams = self.ledger.collection::<GapRow>(STREAMS);
        let rows = streams
            .find(doc! { "_id.topic": { "$in": domain_topics() }, "missing.0": { "$exists": true } })
            .await
            .map_err(store_error)?;
        let gaps = rows.map_ok(|row| ((row.id.topic, mongo::from_bson(row.id.key)), row.missing));
        let mut chunks = gaps.try_chunks(CHUNK);
        let mut summary = Summary::default();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| store_error(error.1))? {
            let gaps: Gaps = chunk.into_iter().collect();
            for one in self.key_ranges(hour, &gaps).await? {
                summary.add_missing(&one, &gaps);
            }
        }
        Ok(summary)
    }

    /// Returns the numbers that the keys of `gaps` have in an hour.
    async fn key_ranges(&self, hour: Hour, gaps: &Gaps) -> Result<Vec<KeyRange>, StoreError> {
        let keys: Vec<_> = gaps.keys().map(|(_, key)| to_bson(*key)).collect();
        let mut filter = in_hour(hour);
        filter.insert("key", doc! { "$in": keys });
        let entries = self.ledger.collection::<Document>(ENTRIES);
        let ranges = entries
            .aggregate([
                doc! { "$match": filter },
                doc! { "$group": {
                    "_id": { "topic": "$_id.topic", "producer": "$source", "key": "$key" },
                    "lowest": { "$min": "$sequence" },
                    "highest": { "$max": "$sequence" },
                } },
                doc! { "$sort": { "_id": 1 } },
            ])
            .with_type::<KeyRangeRow>();
        let ranges = ranges.await.map_err(store_error)?;
        let ranges = ranges.map_ok(|row| KeyRange {
            topic: row.id.topic,
            producer: row.id.producer.unwrap_or_default(),
            key: mongo::from_bson(row.id.key),
            numbers: row.lowest.zip(row.highest),
        });
        ranges.try_collect().await.map_err(store_error)
    }
}

/// Returns the filter that finds the domain events of an hour.
fn in_hour(hour: Hour) -> Document {
    doc! {
        "time": { "$gte": hour.from, "$lt": hour.until() },
        "_id.topic": { "$in": domain_topics() },
    }
}

/// Stores and publishes a certificate.
async fn publish(unit: &mut Unit<Mongo>, hour: Hour, summary: Summary, now: Timestamp) -> Result<(), Failure> {
    let id = Uuid::now_v7();
    let complete = summary.is_complete();
    let certificate = Certificate {
        hour,
        id: to_bson(id),
        certified_at: now.as_micros(),
        complete,
        topics: summary.into_topics(),
    };
    let tx = unit.tx();
    let certificates = tx.collection::<Certificate>(CERTIFICATES);
    certificates
        .insert_one(&certificate)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    let at = |micros| Timestamp::from_micros(micros).map_err(Failure::poison);
    let fact = DeliveryCertified {
        certificate_id: id,
        from: at(hour.from)?,
        until: at(hour.until())?,
        complete,
        topics: certificate.topics,
    };
    tracing::info!(from = %fact.from, complete, "the hour from {} was certified", fact.from);
    unit.publish(&origin_cause(id), Outgoing::<AuditFact>::new(id, fact))?;
    Ok(())
}

fn domain_topics() -> Vec<&'static str> {
    let topics = recorded().filter(|topic| topic.kind == Kind::DomainEvents);
    topics.map(|topic| topic.name).collect()
}
