//! Conversions between columns and the types of the ledger.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use contracts::{DeadLetterReason, Timestamp};
use messaging::ledger::{DeadLetter, OutboxMessage, Parked, StoreError, StoreErrorKind, StoredDeadLetter};
use messaging::{Headers, Record, TopicPartition};
use sqlx::postgres::PgRow;
use sqlx::{Decode, Row as _, Type};
use uuid::Uuid;

use crate::store_error;

/// Returns the topics and the partition numbers, as arrays to bind.
pub(crate) fn columns(partitions: &[TopicPartition]) -> (Vec<String>, Vec<i32>) {
    partitions
        .iter()
        .map(|partition| (partition.topic.clone(), partition.partition))
        .unzip()
}

/// Reads a column. Unlike `Row::get`, it does not panic if the table does not match what this process
/// expects.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}

pub(crate) fn partition(row: &PgRow) -> Result<TopicPartition, StoreError> {
    Ok(TopicPartition::new(
        get::<String>(row, "topic")?,
        get(row, "partition")?,
    ))
}

pub(crate) fn value(row: &PgRow) -> Result<Option<Bytes>, StoreError> {
    Ok(get::<Option<Vec<u8>>>(row, "value")?.map(Bytes::from))
}

pub(crate) fn headers(row: &PgRow) -> Result<Headers, StoreError> {
    Headers::from_json(get(row, "headers")?).map_err(|error| StoreError::new(StoreErrorKind::Unexpected, error))
}

/// Converts a column that was written from a [`Timestamp`], and therefore fits into one.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(time.timestamp_micros()).unwrap_or_else(|_| Timestamp::now())
}

pub(crate) fn outbox_message(row: &PgRow) -> Result<OutboxMessage, StoreError> {
    Ok(OutboxMessage {
        topic: get(row, "topic")?,
        key: get(row, "key")?,
        value: None,
        headers: headers(row)?,
        due_at: get::<Option<_>>(row, "due_at")?.map(timestamp),
    })
}

pub(crate) fn parked(row: &PgRow) -> Result<Parked, StoreError> {
    let key: Uuid = get(row, "key")?;
    Ok(Parked {
        key,
        sequence: get(row, "sequence")?,
        id: get(row, "message_id")?,
        record: record(row, Some(Bytes::from(key.to_string())))?,
        error: get(row, "error")?,
    })
}

pub(crate) fn dead_letter(row: &PgRow) -> Result<StoredDeadLetter, StoreError> {
    let key = get::<Option<Vec<u8>>>(row, "key")?.map(Bytes::from);
    Ok(StoredDeadLetter {
        dead_letter: DeadLetter {
            id: get(row, "id")?,
            reason: reason(get(row, "reason")?),
            detail: get(row, "detail")?,
            record: record(row, key)?,
        },
        redriven_as: get(row, "redriven_as")?,
    })
}

fn record(row: &PgRow, key: Option<Bytes>) -> Result<Record, StoreError> {
    Ok(Record {
        partition: partition(row)?,
        offset: get(row, "offset")?,
        timestamp: timestamp(get(row, "said_at")?),
        key,
        value: value(row)?,
        headers: headers(row)?,
    })
}

/// Parses a reason as [`insert_dead_letters`](messaging::ledger::DeliveryLog::insert_dead_letters) has written it.
fn reason(text: &str) -> DeadLetterReason {
    match text {
        "Undecodable" => DeadLetterReason::Undecodable,
        "UnknownType" => DeadLetterReason::UnknownType,
        "WrongKey" => DeadLetterReason::WrongKey,
        "Poison" => DeadLetterReason::Poison,
        "Expired" => DeadLetterReason::Expired,
        "MalformedEnvelope" => DeadLetterReason::MalformedEnvelope,
        "Fork" => DeadLetterReason::Fork,
        _ => DeadLetterReason::Unknown,
    }
}
