//! Records every record of a topic in the log, in the order of its partition.

use std::collections::{BTreeMap, HashMap, hash_map};
use std::panic::AssertUnwindSafe;

use contracts::{Kind, Topic};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{Failure, Headers, LogHandler, Record, Unit};
use mongo::{Mongo, Tx, Update, store_error, to_bson};
use mongodb::bson::{self, Binary, Bson, Document, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entry::{Entry, RecordPosition, is_reduced, is_stub};
use crate::finding::{Finding, FindingKind};
use crate::metrics::Metrics;
use crate::store::{ENTRIES, FINDINGS, STREAMS};
use crate::stream::{Observation, Stream};
use crate::tree::{Growth, Tree, TreeId};

/// Maximum size of the entries that are written in one transaction, in bytes. A larger batch is split, because the entries
/// and their encoded form are in memory, and MongoDB rejects transactions that do not fit into its cache. Ordinary batches
/// have less than 1 MiB.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The handler that records one topic.
pub(crate) struct Recorder {
    pub(crate) topic: &'static Topic,
    pub(crate) metrics: Metrics,
    /// The trees of the partitions that were recorded so far, by partition.
    pub(crate) trees: HashMap<i32, Tree>,
}

/// The sequence numbers of one key of a domain-event topic, as they are stored.
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
        let mut recorded = Vec::with_capacity(records.len());
        let mut bytes = 0;
        for record in records {
            // Only the content of the record can cause a panic here.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| Entry::of(self.topic, record, &codec)));
            let (entry, findings) = result.map_err(|_| Failure::poison("the content of the record caused a panic"))?;
            bytes += entry.bytes();
            if bytes > MAX_BATCH_BYTES && records.len() > 1 {
                let error = format!("the entries of a batch have more than {MAX_BATCH_BYTES} bytes");
                return Err(Failure::Conflict(error.into()));
            }
            recorded.push((entry, findings));
        }
        self.record(unit.tx(), recorded).await
    }

    async fn stub(&mut self, unit: &mut Unit<Mongo>, record: &Record, what: &str) -> Result<(), Failure> {
        let stub = vec![Entry::stub(self.topic, record, what)];
        self.record(unit.tx(), stub).await?;
        Ok(())
    }
}

impl Recorder {
    /// Inserts new entries and their findings, and grows the trees. The records of a partition are in the order of their
    /// offsets.
    ///
    /// Returns the number of new entries whose headers are reduced.
    async fn record(&mut self, tx: &mut Tx, recorded: Vec<(Entry, Vec<Finding>)>) -> Result<u64, Failure> {
        let mut by_partition: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for (entry, findings) in recorded {
            let partition = by_partition.entry(entry.position.partition).or_default();
            partition.push((entry, findings));
        }
        let (mut entries, mut findings, mut growth) = (Vec::new(), Vec::new(), Growth::default());
        for (partition, recorded) in by_partition {
            let tree = match self.trees.entry(partition) {
                hash_map::Entry::Occupied(tree) => tree.into_mut(),
                hash_map::Entry::Vacant(vacant) => {
                    let id = TreeId::new(self.topic.name, partition);
                    vacant.insert(Tree::load_for_append(tx, id).await?)
                }
            };
            let (mut new, found) = only_new(tx, tree, recorded).await?;
            if !new.is_empty() {
                tree.append(&mut new, &mut growth);
            }
            entries.append(&mut new);
            findings.extend(found);
        }
        growth.write(tx).await?;
        if !entries.is_empty() {
            let collection = tx.collection::<Entry>(ENTRIES);
            let inserted = collection.insert_many(&entries).session(tx.session()).await;
            inserted.map_err(store_error)?;
        }
        if self.topic.kind == Kind::DomainEvents {
            // Stubs are excluded, because the row with the sequence numbers of the key may be what the store rejects.
            let numbered: Vec<_> = entries.iter().filter(|entry| !is_stub(&entry.headers)).collect();
            findings.extend(self.track_sequences(tx, &numbered).await?);
        }
        self.save_findings(tx, &findings).await?;
        let reduced = entries.iter().filter(|entry| is_reduced(&entry.headers));
        Ok(reduced.count() as u64)
    }

    /// Tracks the sequence numbers of domain events. Returns findings about missing, late and repeated numbers.
    async fn track_sequences(&self, tx: &mut Tx, entries: &[&Entry]) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let mut streams = self.streams(tx, entries).await?;
        let mut repeated = Vec::new();
        for entry in entries.iter().copied() {
            let (Some(key), Some(sequence)) = (entry.key, entry.sequence.filter(|sequence| *sequence > 0)) else {
                findings.push(entry.finding(
                    FindingKind::Unnumbered,
                    "the domain event has no key or no sequence number",
                ));
                continue;
            };
            match streams.entry(mongo::from_bson(key)).or_default().observe(sequence) {
                Observation::Next => {}
                Observation::Gap { from } => {
                    let detail = format!("the numbers {from} to {} have not been recorded", sequence - 1);
                    findings.push(entry.finding(FindingKind::Gap, detail));
                }
                Observation::Late => findings.push(entry.finding(FindingKind::Late, "the number was missing before")),
                Observation::Repeated => repeated.push((entry, key, sequence)),
            }
        }
        let seen = self.recorded_ids(tx, &repeated).await?;
        for (entry, key, sequence) in repeated {
            let ids = seen.get(&(mongo::from_bson(key), sequence));
            let fork = ids.into_iter().flatten().any(|id| *id != entry.message_id);
            let (kind, detail) = if fork {
                (
                    FindingKind::Fork,
                    "the number was recorded before under another message id",
                )
            } else {
                (FindingKind::Duplicate, "the message was recorded before")
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

    /// Returns the message ids under which sequence numbers are in the log, including those of this batch.
    async fn recorded_ids(&self, tx: &mut Tx, repeated: &[(&Entry, bson::Uuid, i64)]) -> Result<Seen, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            key: bson::Uuid,
            sequence: i64,
            message_id: Option<bson::Uuid>,
        }
        let mut seen = Seen::new();
        if repeated.is_empty() {
            return Ok(seen);
        }
        let keys: Vec<_> = repeated.iter().map(|(_, key, _)| Bson::from(*key)).collect();
        let sequences: Vec<_> = repeated.iter().map(|(_, _, sequence)| *sequence).collect();
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

    /// Stores, logs and counts findings.
    async fn save_findings(&self, tx: &mut Tx, findings: &[Finding]) -> Result<(), StoreError> {
        let mut counts = BTreeMap::<_, u64>::new();
        for finding in findings {
            *counts.entry(finding.kind()).or_default() += 1;
        }
        for (kind, count) in counts {
            tracing::warn!(
                topic = self.topic.name,
                kind = kind.name(),
                count,
                "found anomalies in records"
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

/// Removes the records whose positions the log has already passed, and reports those that differ from the log.
///
/// Normally there are none, because the consumer's position moves in the same transaction. There are some if that position
/// was set back or the topic was recreated. The log is not changed then.
async fn only_new(
    tx: &mut Tx,
    tree: &Tree,
    recorded: Vec<(Entry, Vec<Finding>)>,
) -> Result<(Vec<Entry>, Vec<Finding>), StoreError> {
    let (old, new): (Vec<_>, Vec<_>) = recorded
        .into_iter()
        .partition(|(entry, _)| entry.position.offset <= tree.last_offset);
    let known = recorded_entries(tx, &old).await?;
    let mut findings = Vec::new();
    for (entry, _) in old {
        let detail = match known.get(&entry.position.offset) {
            Some(known) if known.matches(&entry) => continue,
            Some(_) => "another record was already recorded at this position",
            None => "the log has already passed this position without a record",
        };
        findings.push(entry.finding(FindingKind::Rewritten, detail));
    }
    let mut entries = Vec::with_capacity(new.len());
    for (entry, anomalies) in new {
        entries.push(entry);
        findings.extend(anomalies);
    }
    Ok((entries, findings))
}

/// Returns the recorded entries in the range of these positions, by offset.
async fn recorded_entries(
    tx: &mut Tx,
    entries: &[(Entry, Vec<Finding>)],
) -> Result<HashMap<i64, RecordedEntry>, StoreError> {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return Ok(HashMap::new());
    };
    let id = |position: &RecordPosition| bson::serialize_to_document(position).expect("a position is a document");
    let between = doc! { "_id": { "$gte": id(&first.position), "$lte": id(&last.position) } };
    let mut rows = tx
        .collection::<RecordedEntry>(ENTRIES)
        .find(between)
        .projection(doc! { "message_id": 1, "sha256": 1, "headers": { "$slice": 2 } })
        .batch_size(1_000)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    let rows = rows.stream(tx.session()).map_ok(|row| (row.position.offset, row));
    rows.try_collect().await.map_err(store_error)
}

type Seen = HashMap<(Uuid, i64), Vec<Option<bson::Uuid>>>;

/// The part of a recorded entry that shows whether a record is the recorded one.
#[derive(Deserialize)]
struct RecordedEntry {
    #[serde(rename = "_id")]
    position: RecordPosition,
    message_id: Option<bson::Uuid>,
    sha256: Option<Binary>,
    /// The first two headers.
    #[serde(default)]
    headers: Headers,
}

impl RecordedEntry {
    /// Returns `true` if the entry is of the same record. For a stub, only the hash of the value can be compared.
    fn matches(&self, entry: &Entry) -> bool {
        let same_id = self.message_id == entry.message_id || is_stub(&self.headers);
        same_id && self.sha256 == entry.sha256
    }
}

fn stream_id(topic: &Topic, key: bson::Uuid) -> Document {
    doc! { "topic": topic.name, "key": key }
}
