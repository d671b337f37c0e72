//! The records of an operation, or the one message and what it led to, wherever they are.

use std::sync::mpsc;

use contracts::{Timestamp, Topic, topics};
use messaging::{Record, header};
use serde::Serialize;
use uuid::Uuid;

use crate::Error;
use crate::kafka::{Kafka, Reader};
use crate::progress::Progress;

/// From and until when records were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

/// A record, as far as its headers say. A copy of a message is a record of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// Without prefix.
    pub(super) topic: &'static str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// When it was written.
    pub(super) time: String,
    pub(super) message_id: Option<Uuid>,
    #[serde(rename = "type")]
    pub(super) type_name: String,
    pub(super) key: String,
    pub(super) sequence: Option<i64>,
    /// Who said it.
    pub(super) source: String,
    pub(super) causation_id: Option<Uuid>,
    pub(super) trace: Option<String>,
}

/// Reads every topic, each in a thread of its own: what takes long is waiting.
pub(super) fn find(kafka: &Kafka, id: Uuid, span: Span) -> Result<Vec<Found>, Error> {
    // A status belongs to no operation, and there are many.
    let topics: Vec<_> = topics::ALL
        .iter()
        .copied()
        .filter(|topic| topic.name != topics::OPS_STATUS.name)
        .collect();
    let mut progress = Progress::of("reading topics");
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        for topic in &topics {
            let sender = sender.clone();
            // Whoever receives is there as long as there are threads.
            scope.spawn(move || sender.send(find_in(kafka, topic, id, span)));
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

fn find_in(kafka: &Kafka, topic: &'static Topic, id: Uuid, span: Span) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    Reader::from_time(kafka, topic, span.since)?.read_until(span.until, |record| {
        let is_it = |name| header_id(&record, name) == Some(id);
        if [header::ID, header::CORRELATION_ID, header::CAUSATION_ID]
            .into_iter()
            .any(is_it)
        {
            found.push(of(&record, topic));
        }
    })?;
    Ok(found)
}

fn of(record: &Record, topic: &'static Topic) -> Found {
    let text = |name| record.headers.get(name).unwrap_or_default().to_owned();
    let trace = record
        .headers
        .get(header::TRACE_PARENT)
        .and_then(|parent| parent.split('-').nth(1));
    Found {
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
