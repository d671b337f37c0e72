//! Takes every record of a topic into the log, in the order of its partition.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;

use contracts::{Kind, Topic};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{Failure, Headers, LogHandler, Record, Unit};
use mongo::{Mongo, Tx, Update, store_error, to_bson};
use mongodb::bson::{self, Binary, Bson, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entry::{Entry, Place, is_reduced, is_stub};
use crate::finding::{Finding, FindingKind};
use crate::metrics::Metrics;
use crate::store::{ENTRIES, FINDINGS, STREAMS};
use crate::stream::{Noted, Stream};
use crate::tree::{Tree, TreeId};

/// Bytes of entries that are written in one transaction. The records of a batch with more are recorded one by one,
/// because the entries are in memory, and MongoDB refuses transactions that do not fit into its cache. Ordinary batches have
/// less than 1 MiB; the largest are bounded by what the consumer fetches, 4 MiB.
const LARGEST_BATCH: usize = 16 * 1024 * 1024;

/// The log's part of one topic.
pub(crate) struct Recorder {
    pub(crate) topic: &'static Topic,
    pub(crate) metrics: Metrics,
    /// Of the partition that this one records, once it has recorded something.
    pub(crate) tree: Option<Tree>,
}

/// What is kept of one key of a domain-event topic, besides its records.
#[derive(Serialize, Deserialize)]
struct StreamRow {
    #[serde(rename = "_id")]
    id: StreamId,
    #[serde(flatten)]
    stream: Stream,
}

#[derive(Serialize, Deserialize)]
struct StreamId {
    topic: String,
    key: bson::Uuid,
}

impl LogHandler<Mongo> for Recorder {
    async fn handle(&mut self, unit: &mut Unit<Mongo>, records: &[&Record]) -> Result<u64, Failure> {
        let codec = unit.publisher().codec().clone();
        let Some(partition) = records.first().map(|record| record.partition.partition) else {
            return Ok(0);
        };
        let mut all = Vec::with_capacity(records.len());
        let mut bytes = 0;
        for record in records {
            // Only what the record contains can make this panic.
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| Entry::of(self.topic, record, &codec)));
            let (entry, findings) = made.map_err(|_| Failure::poison("the record's content made the log panic"))?;
            bytes += entry.bytes();
            if bytes > LARGEST_BATCH && records.len() > 1 {
                let error = format!("the entries of a batch have more than {LARGEST_BATCH} bytes");
                return Err(Failure::Conflict(error.into()));
            }
            all.push((entry, findings));
        }
        self.record(unit.tx(), partition, all).await
    }

    async fn stub(&mut self, unit: &mut Unit<Mongo>, record: &Record, what: &str) -> Result<(), Failure> {
        let made = vec![Entry::stub(self.topic, record, what)];
        self.record(unit.tx(), record.partition.partition, made).await?;
        Ok(())
    }
}

impl Recorder {
    /// Returns how many of the new entries are reduced.
    async fn record(&mut self, tx: &mut Tx, partition: i32, made: Vec<(Entry, Vec<Finding>)>) -> Result<u64, Failure> {
        let mut tree = match self.tree.take() {
            Some(tree) => tree,
            None => Tree::to_append(tx, TreeId::new(self.topic.name, partition)).await?,
        };
        let (mut entries, mut findings) = self.only_new(tx, &tree, made).await?;
        if !entries.is_empty() {
            let growth = tree.append(&mut entries);
            growth.write(tx, &tree).await?;
            let collection = tx.collection::<Entry>(ENTRIES);
            collection
                .insert_many(&entries)
                .session(tx.session())
                .await
                .map_err(store_error)?;
        }
        if self.topic.kind == Kind::DomainEvents {
            // A stub has no number: what is kept of its key's numbers may be what the store refuses.
            let numbered: Vec<_> = entries.iter().filter(|entry| !is_stub(&entry.headers)).collect();
            findings.extend(self.follow(tx, &numbered).await?);
        }
        self.keep(tx, &findings).await?;
        self.tree = Some(tree);
        let reduced = entries.iter().filter(|entry| is_reduced(&entry.headers));
        Ok(reduced.count() as u64)
    }

    /// Leaves out what the log has already. The position says that there is nothing of the kind; should it
    /// ever be set back, or the topic made anew, the log stays as it is.
    async fn only_new(
        &self,
        tx: &mut Tx,
        tree: &Tree,
        made: Vec<(Entry, Vec<Finding>)>,
    ) -> Result<(Vec<Entry>, Vec<Finding>), StoreError> {
        let (old, new): (Vec<_>, Vec<_>) = made
            .into_iter()
            .partition(|(entry, _)| entry.place.offset <= tree.last_offset);
        let known = self.known(tx, &old).await?;
        let mut findings = Vec::new();
        for (entry, _) in old {
            let detail = match known.get(&entry.place.offset) {
                Some(known) if known.is(&entry) => continue,
                Some(_) => "another record was recorded at this place before",
                None => "the log went past this place before, without a record",
            };
            findings.push(entry.finding(FindingKind::Rewritten, detail));
        }
        let mut entries = Vec::with_capacity(new.len());
        for (entry, strange) in new {
            entries.push(entry);
            findings.extend(strange);
        }
        Ok((entries, findings))
    }

    async fn known(&self, tx: &mut Tx, made: &[(Entry, Vec<Finding>)]) -> Result<HashMap<i64, Known>, StoreError> {
        let (Some((first, _)), Some((last, _))) = (made.first(), made.last()) else {
            return Ok(HashMap::new());
        };
        let place = |place: &Place| bson::serialize_to_document(place).expect("a place is a document");
        let between = doc! { "_id": { "$gte": place(&first.place), "$lte": place(&last.place) } };
        let mut rows = tx
            .collection::<Known>(ENTRIES)
            .find(between)
            .projection(doc! { "message_id": 1, "sha256": 1, "headers": { "$slice": 2 } })
            .batch_size(1_000)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let rows = rows.stream(tx.session()).map_ok(|row| (row.place.offset, row));
        rows.try_collect().await.map_err(store_error)
    }

    /// Notes the numbers of domain events: what is missing, late, or there twice.
    async fn follow(&self, tx: &mut Tx, entries: &[&Entry]) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let mut streams = self.streams(tx, entries).await?;
        let mut again = Vec::new();
        for entry in entries.iter().copied() {
            let (Some(key), Some(sequence)) = (entry.key, entry.sequence.filter(|sequence| *sequence > 0)) else {
                findings.push(entry.finding(FindingKind::Unnumbered, "a domain event has a key and a number"));
                continue;
            };
            match streams.entry(mongo::from_bson(key)).or_default().note(sequence) {
                Noted::Next => {}
                Noted::Ahead { from } => {
                    let detail = format!("{from} to {} have not been seen", sequence - 1);
                    findings.push(entry.finding(FindingKind::Gap, detail));
                }
                Noted::Late => findings.push(entry.finding(FindingKind::Late, "it was missing")),
                Noted::Again => again.push((entry, key, sequence)),
            }
        }
        let seen = self.seen(tx, &again).await?;
        for (entry, key, sequence) in again {
            let ids = seen.get(&(mongo::from_bson(key), sequence));
            let fork = ids.into_iter().flatten().any(|id| *id != entry.message_id);
            let (kind, detail) = match fork {
                false => (FindingKind::Duplicate, "it was there before"),
                true => (FindingKind::Fork, "its number was there before under another id"),
            };
            findings.push(entry.finding(kind, detail));
        }
        let updates = streams.into_iter().map(|(key, Stream { last, missing })| {
            let missing: Vec<_> = missing
                .into_iter()
                .map(|(from, to)| Bson::from(vec![from, to]))
                .collect();
            Update {
                filter: doc! { "_id": stream_id(self.topic, to_bson(key)) },
                change: doc! { "$set": { "last": last, "missing": missing } },
                upsert: true,
            }
        });
        tx.update_each(STREAMS, updates).await?;
        Ok(findings)
    }

    async fn streams(&self, tx: &mut Tx, entries: &[&Entry]) -> Result<BTreeMap<Uuid, Stream>, StoreError> {
        let mut keys: Vec<_> = entries.iter().filter_map(|entry| entry.key).collect();
        keys.sort_unstable_by_key(|key| key.bytes());
        keys.dedup();
        let ids: Vec<_> = keys.into_iter().map(|key| stream_id(self.topic, key)).collect();
        let mut rows = tx
            .collection::<StreamRow>(STREAMS)
            .find(doc! { "_id": { "$in": ids } })
            .batch_size(1_000)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let rows = rows
            .stream(tx.session())
            .map_ok(|row| (mongo::from_bson(row.id.key), row.stream));
        rows.try_collect().await.map_err(store_error)
    }

    /// The ids under which numbers are in the log, those of this batch among them.
    async fn seen(&self, tx: &mut Tx, again: &[(&Entry, bson::Uuid, i64)]) -> Result<Seen, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            key: bson::Uuid,
            sequence: i64,
            message_id: Option<bson::Uuid>,
        }
        let mut seen = Seen::new();
        if again.is_empty() {
            return Ok(seen);
        }
        let keys: Vec<_> = again.iter().map(|(_, key, _)| Bson::from(*key)).collect();
        let sequences: Vec<_> = again.iter().map(|(_, _, sequence)| *sequence).collect();
        let mut rows = tx
            .collection::<Row>(ENTRIES)
            .find(doc! { "key": { "$in": keys }, "_id.topic": self.topic.name, "sequence": { "$in": sequences } })
            .projection(doc! { "key": 1, "sequence": 1, "message_id": 1 })
            .batch_size(1_000)
            .session(tx.session())
            .await
            .map_err(store_error)?;
        let mut rows = rows.stream(tx.session());
        while let Some(row) = rows.try_next().await.map_err(store_error)? {
            let ids = seen.entry((mongo::from_bson(row.key), row.sequence)).or_default();
            ids.push(row.message_id);
        }
        Ok(seen)
    }

    async fn keep(&self, tx: &mut Tx, findings: &[Finding]) -> Result<(), StoreError> {
        let mut counts = BTreeMap::<_, u64>::new();
        for finding in findings {
            *counts.entry(finding.kind()).or_default() += 1;
        }
        for (kind, count) in counts {
            tracing::warn!(
                topic = self.topic.name,
                kind = kind.name(),
                count,
                "the log has findings"
            );
            self.metrics
                .findings
                .with_label_values(&[self.topic.name, kind.name()])
                .inc_by(count);
        }
        let updates = findings.iter().map(|finding| {
            let mut document = bson::serialize_to_document(finding).expect("a finding is a document");
            let id = document.remove("_id").expect("a finding has an id");
            Update {
                filter: doc! { "_id": id },
                change: doc! { "$setOnInsert": document },
                upsert: true,
            }
        });
        tx.update_each(FINDINGS, updates).await?;
        Ok(())
    }
}

type Seen = HashMap<(Uuid, i64), Vec<Option<bson::Uuid>>>;

/// What tells whether a record is the one that is in the log.
#[derive(Deserialize)]
struct Known {
    #[serde(rename = "_id")]
    place: Place,
    message_id: Option<bson::Uuid>,
    sha256: Option<Binary>,
    /// The first two of them.
    #[serde(default)]
    headers: Headers,
}

impl Known {
    /// Of a stub, the value is all that can be compared.
    fn is(&self, entry: &Entry) -> bool {
        let same_id = self.message_id == entry.message_id || is_stub(&self.headers);
        same_id && self.sha256 == entry.sha256
    }
}

fn stream_id(topic: &Topic, key: bson::Uuid) -> Document {
    doc! { "topic": topic.name, "key": key }
}
