//! Certifies past hours. Every process runs a certifier; each hour is certified once, in one transaction.

use std::time::Duration;

use chassis::error_chain;
use contracts::{AuditFact, CertifiedTopic, DeliveryCertified, Kind, Timestamp};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{Failure, Outgoing, Publisher, Unit};
use mongo::{Mongo, Tx, Update, store_error, to_bson};
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::certificate::{Gaps, KeyCount, summarize};
use crate::notary::origin_cause;
use crate::recorded;
use crate::store::{CERTIFICATES, CERTIFIED, ENTRIES, STREAMS};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Time after which an ended hour is certified, because some of its records may still be in flight.
const GRACE: Duration = Duration::from_secs(5 * 60);
/// Time for which an incomplete hour is checked again, whenever a later hour is certified.
const RECHECK_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
const POLL_INTERVAL: Duration = Duration::from_secs(60);

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
struct KeyCountRow {
    #[serde(rename = "_id")]
    id: KeyCountId,
    messages: i64,
    lowest: Option<i64>,
    highest: Option<i64>,
}

#[derive(Deserialize)]
struct KeyCountId {
    topic: String,
    #[serde(default)]
    producer: Option<String>,
    #[serde(default)]
    key: Option<bson::Uuid>,
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
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        let tx = unit.tx();
        let certified = tx.collection::<Progress>(CERTIFIED);
        let certified = certified.find_one(doc! {}).session(tx.session()).await;
        let until = certified.map_err(store_error)?.map(|certified| certified.until);
        if until.is_some_and(|until| until >= closed) {
            unit.rollback().await;
            return Ok(false);
        }
        let next = first_event(tx, until, closed).await?.map(Hour::of);
        let reached = next.map_or(closed, Hour::until);
        if let Some(hour) = next {
            let topics = topics(tx, hour).await?;
            publish(&mut unit, hour, topics, now).await?;
        }
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
        if unit.tx().update_each(CERTIFIED, [progress]).await? == 0 {
            unit.rollback().await;
            return Ok(true);
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
        let mut unit = Unit::begin(&self.ledger, &self.publisher).await?;
        let topics = topics(unit.tx(), hour).await?;
        if !is_complete(&topics) {
            unit.rollback().await;
            return Ok(());
        }
        let revision = hour.revision + 1;
        publish(&mut unit, Hour { revision, ..hour }, topics, now).await?;
        unit.commit().await.map_err(Failure::retry)
    }
}

fn is_complete(topics: &[CertifiedTopic]) -> bool {
    topics.iter().all(|topic| topic.missing == 0)
}

/// Stores and publishes a certificate.
async fn publish(
    unit: &mut Unit<Mongo>,
    hour: Hour,
    topics: Vec<CertifiedTopic>,
    now: Timestamp,
) -> Result<(), Failure> {
    let id = Uuid::now_v7();
    let complete = is_complete(&topics);
    let certificate = Certificate {
        hour,
        id: to_bson(id),
        certified_at: now.as_micros(),
        complete,
        topics,
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

/// Returns the time of the first domain event that is in a closed hour and not in a certified one.
async fn first_event(tx: &mut Tx, from: Option<i64>, closed: i64) -> Result<Option<i64>, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        time: i64,
    }
    let mut time = doc! { "$lt": closed };
    if let Some(from) = from {
        time.insert("$gte", from);
    }
    let entries = tx.collection::<Row>(ENTRIES);
    let first = entries
        .find_one(doc! { "time": time, "_id.topic": { "$in": domain_topics() } })
        .sort(doc! { "time": 1, "_id": 1 })
        .projection(doc! { "_id": 0, "time": 1 })
        .session(tx.session());
    Ok(first.await.map_err(store_error)?.map(|row| row.time))
}

/// Returns the content of an hour's certificate.
async fn topics(tx: &mut Tx, hour: Hour) -> Result<Vec<CertifiedTopic>, StoreError> {
    let counted = counted(tx, hour).await?;
    let gaps = gaps(tx).await?;
    Ok(summarize(&counted, &gaps))
}

async fn counted(tx: &mut Tx, hour: Hour) -> Result<Vec<KeyCount>, StoreError> {
    let entries = tx.collection::<Document>(ENTRIES);
    let counted = entries
        .aggregate([
            doc! { "$match": {
                "time": { "$gte": hour.from, "$lt": hour.until() },
                "_id.topic": { "$in": domain_topics() },
            } },
            doc! { "$group": {
                "_id": { "topic": "$_id.topic", "producer": "$source", "key": "$key" },
                "messages": { "$sum": 1_i64 },
                "lowest": { "$min": "$sequence" },
                "highest": { "$max": "$sequence" },
            } },
        ])
        .batch_size(10_000)
        .with_type::<KeyCountRow>()
        .session(tx.session());
    let mut counted = counted.await.map_err(store_error)?;
    let counted = counted.stream(tx.session()).map_ok(|row| KeyCount {
        topic: row.id.topic,
        producer: row.id.producer.unwrap_or_default(),
        key: row.id.key.map(mongo::from_bson).unwrap_or_default(),
        messages: row.messages,
        numbers: row.lowest.zip(row.highest),
    });
    counted.try_collect().await.map_err(store_error)
}

/// Returns all gaps. There are few, if any.
async fn gaps(tx: &mut Tx) -> Result<Gaps, StoreError> {
    let streams = tx.collection::<GapRow>(STREAMS);
    let rows = streams
        .find(doc! { "_id.topic": { "$in": domain_topics() }, "missing.0": { "$exists": true } })
        .batch_size(10_000)
        .session(tx.session());
    let mut rows = rows.await.map_err(store_error)?;
    let gaps = rows
        .stream(tx.session())
        .map_ok(|row| ((row.id.topic, mongo::from_bson(row.id.key)), row.missing));
    gaps.try_collect().await.map_err(store_error)
}
