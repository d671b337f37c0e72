//! Conversions between documents and the types of the ledger. Times are microseconds since the epoch, as everywhere in
//! Rollcall.

use std::borrow::Cow;

use bytes::Bytes;
use contracts::Timestamp;
use messaging::ledger::{StoreError, StoreErrorKind};
use messaging::{Headers, Record, TopicPartition, header};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use serde::{Deserialize, Serialize};

/// Returns the `_id` of a partition. The order of its fields is part of its value.
pub(crate) fn partition_id(partition: &TopicPartition) -> Document {
    doc! { "topic": &partition.topic, "partition": partition.partition }
}

/// The `_id` that [`partition_id`] returns.
#[derive(Deserialize)]
pub(crate) struct PartitionId {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

impl From<PartitionId> for TopicPartition {
    fn from(id: PartitionId) -> Self {
        Self::new(id.topic, id.partition)
    }
}

/// A raw record.
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordDocument<'a> {
    topic: Cow<'a, str>,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Binary>,
    value: Option<Binary>,
    headers: Cow<'a, Headers>,
}

impl<'a> From<&'a Record> for RecordDocument<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            topic: Cow::Borrowed(&record.partition.topic),
            partition: record.partition.partition,
            offset: record.offset,
            timestamp: record.timestamp.as_micros(),
            key: record.key.as_ref().map(binary),
            value: record.value.as_ref().map(binary),
            headers: Cow::Borrowed(&record.headers),
        }
    }
}

impl RecordDocument<'_> {
    pub(crate) fn into_record(self) -> Result<Record, StoreError> {
        Ok(Record {
            partition: TopicPartition::new(self.topic, self.partition),
            offset: self.offset,
            timestamp: timestamp(self.timestamp)?,
            key: self.key.map(|key| Bytes::from(key.bytes)),
            value: self.value.map(|value| Bytes::from(value.bytes)),
            headers: self.headers.into_owned(),
        })
    }
}

/// Returns the ids in the headers that name a message or its chain, for an index: a message is searched by them.
pub(crate) fn names(headers: &Headers) -> Vec<String> {
    let named = [header::ID, header::CORRELATION_ID].into_iter();
    named.filter_map(|name| headers.get(name)).map(str::to_owned).collect()
}

pub(crate) fn binary(bytes: &Bytes) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_micros(micros).map_err(|_| StoreError::new(StoreErrorKind::Broken, "a stored time is out of range"))
}

/// Returns the batch size that fetches this many documents in the first response, up to 16 MiB. The default is 101
/// documents, and then another round trip for the rest. It is one more than the maximum number of documents, so the
/// response is known to be the last.
pub(crate) fn batch_size(documents: impl TryInto<u32>) -> u32 {
    documents.try_into().unwrap_or(u32::MAX).clamp(100, i32::MAX as u32 - 1) + 1
}
