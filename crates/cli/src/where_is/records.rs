//! Finds the records of an operation, or of a message and its direct consequences, on all topics.

use std::sync::mpsc;

use contracts::{Timestamp, Topic, topics};
use messaging::{Record, header};
use serde::Serialize;
use uuid::Uuid;

use crate::Error;
use crate::kafka::{Kafka, Reader};
use crate::progress::Progress;

/// Time range in which records were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeRange {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// Position and headers of a record. A duplicate of a message is a separate record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FoundRecord {
    /// Topic name without prefix.
    pub(super) topic: &'static str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Time at which the record was written.
    pub(super) time: String,
    pub(super) message_id: Option<Uuid>,
    #[serde(rename = "type")]
    pub(super) type_name: String,
    pub(super) key: String,
    pub(super) sequence: Option<i64>,
    /// Sender of the message.
    pub(super) source: String,
    pub(super) causation_id: Option<Uuid>,
    pub(super) trace: Option<String>,
}

/// Searches all topics, each in its own thread because most of the time is spent waiting.
pub(super) fn find(kafka: &Kafka, id: Uuid, range: TimeRange) -> Result<Vec<FoundRecord>, Error> {
    // Status reports are numerous and belong to no operation.
    let topics: Vec<_> = topics::ALL
        .iter()
        .copied()
        .filter(|topic| topic.name != topics::OPS_STATUS.name)
        .collect();
    let mut progress = Progress::new("reading topics");
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        for topic in &topics {
            let sender = sender.clone();
            // The receiver outlives the threads, so sending does not fail.
            scope.spawn(move || sender.send(find_in(kafka, topic, id, range)));
        }
        drop(sender);
        for (count, of_topic) in done.iter().enumerate() {
            progress.at(count + 1, topics.len());
            found.extend(of_topic?);
        }
        Ok(())
    })?;
    found.sort_by(|a, b| (&a.time, a.topic, a.partition, a.offset).cmp(&(&b.time, b.topic, b.partition, b.offset)));
    Ok(found)
}

fn find_in(kafka: &Kafka, topic: &'static Topic, id: Uuid, range: TimeRange) -> Result<Vec<FoundRecord>, Error> {
    let mut found = Vec::new();
    Reader::from_time(kafka, topic, range.since)?.read_until(range.until, |record| {
        let is_match = |name| header_id(&record, name) == Some(id);
        if [header::ID, header::CORRELATION_ID, header::CAUSATION_ID]
            .into_iter()
            .any(is_match)
        {
            found.push(found_record(&record, topic));
        }
    })?;
    Ok(found)
}

fn found_record(record: &Record, topic: &'static Topic) -> FoundRecord {
    let text = |name| record.headers.get(name).unwrap_or_default().to_owned();
    let trace = record
        .headers
        .get(header::TRACE_PARENT)
        .and_then(|parent| parent.split('-').nth(1));
    FoundRecord {
        topic: topic.name,
        partition: record.partition.partition,
        offset: record.offset,
        time: record.timestamp.to_string(),
        message_id: header_id(record, header::ID),
        type_name: text(header::TYPE),
        key: String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned(),
        sequence: record.headers.get(header::SEQUENCE).and_then(|text| text.parse().ok()),
        source: text(header::SOURCE),
        causation_id: header_id(record, header::CAUSATION_ID),
        trace: trace.map(str::to_owned),
    }
}

fn header_id(record: &Record, name: &str) -> Option<Uuid> {
    Uuid::try_parse(record.headers.get(name)?).ok()
}
