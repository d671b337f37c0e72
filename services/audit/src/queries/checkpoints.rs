//! Finds checkpoints and certificates, newest first.

use contracts::{FindCertificates, FindCheckpoints, Timestamp};
use futures::TryStreamExt;
use mongo::{Tx, store_error, to_bson};
use mongodb::bson::{Document, doc};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{
    MAX_PAGE_ROWS, MAX_RESULT_BYTES, QUERY_TIMEOUT, QueryError, all_valid, failure, fitting, invalid_cursor,
    invalid_limit, page,
};
use crate::certifier::{Certificate, Hour};
use crate::checkpoint::{self, Checkpoint};
use crate::entry::base64;
use crate::notary::StoredCheckpoint;
use crate::store::{CERTIFICATES, CHECKPOINTS};

pub(super) async fn find_checkpoints(tx: &mut Tx, query: &FindCheckpoints) -> Result<String, QueryError> {
    let cursor = query.cursor.as_deref().map(|text| text.parse::<i64>().ok());
    let older = older(query.limit, cursor, |number| doc! { "$lt": number })?;
    let found: Vec<StoredCheckpoint> = newest_first(tx, CHECKPOINTS, older, query.limit).await?;
    let rows = fitting(
        shown(&found, query.limit).map(|signed| to_json(signed).to_string()),
        MAX_RESULT_BYTES,
    );
    let next = last(&found, &rows).map(|signed| signed.number.to_string());
    Ok(page("checkpoints", &rows, next))
}

pub(super) async fn find_certificates(tx: &mut Tx, query: &FindCertificates) -> Result<String, QueryError> {
    let cursor = query.cursor.as_deref().map(|text| {
        let (from, revision) = text.split_once('.')?;
        Some(Hour {
            from: from.parse().ok()?,
            revision: revision.parse().ok()?,
        })
    });
    let older = older(query.limit, cursor, |Hour { from, revision }| {
        doc! { "$lt": { "from": from, "revision": revision } }
    })?;
    let found: Vec<Certificate> = newest_first(tx, CERTIFICATES, older, query.limit).await?;
    let rows = shown(&found, query.limit).map(|certificate| certificate_to_json(certificate).to_string());
    let rows = fitting(rows, MAX_RESULT_BYTES);
    let next = last(&found, &rows).map(|certificate| {
        let Hour { from, revision } = certificate.hour;
        format!("{from}.{revision}")
    });
    Ok(page("certificates", &rows, next))
}

/// Returns the filter for the rows after a cursor.
fn older<C>(limit: i32, cursor: Option<Option<C>>, before: impl FnOnce(C) -> Document) -> Result<Document, QueryError> {
    let wrong_cursor = matches!(cursor, Some(None)).then(invalid_cursor);
    all_valid(
        invalid_limit(limit, MAX_PAGE_ROWS)
            .into_iter()
            .chain(wrong_cursor)
            .collect(),
    )?;
    let before = cursor.flatten().map(before);
    Ok(before.map_or_else(Document::new, |before| doc! { "_id": before }))
}

/// Finds up to one row more than the page has. An extra row means that there is a next page.
async fn newest_first<T: DeserializeOwned + Send + Sync + Unpin>(
    tx: &mut Tx,
    collection: &str,
    filter: Document,
    limit: i32,
) -> Result<Vec<T>, QueryError> {
    let rows = tx.collection::<T>(collection);
    let found = rows
        .find(filter)
        .sort(doc! { "_id": -1 })
        .limit(i64::from(limit) + 1)
        .max_time(QUERY_TIMEOUT)
        .session(tx.session());
    let mut found = found.await.map_err(failure)?;
    found.stream(tx.session()).try_collect().await.map_err(failure)
}

fn shown<T>(found: &[T], limit: i32) -> impl Iterator<Item = &T> {
    found.iter().take(usize::try_from(limit).unwrap_or(1))
}

/// Returns the last row of the page, or `None` if there is no next page.
fn last<'a, T>(found: &'a [T], rows: &[String]) -> Option<&'a T> {
    let last = rows.len().checked_sub(1).filter(|_| rows.len() < found.len());
    last.map(|last| &found[last])
}

pub(super) async fn by_id(tx: &mut Tx, id: Uuid) -> Result<Option<StoredCheckpoint>, QueryError> {
    let checkpoints = tx.collection::<StoredCheckpoint>(CHECKPOINTS);
    let found = checkpoints.find_one(doc! { "id": to_bson(id) }).session(tx.session());
    Ok(found.await.map_err(store_error)?)
}

/// Returns a checkpoint as JSON for a result.
pub(super) fn to_json(signed: &StoredCheckpoint) -> Json {
    let parsed = Checkpoint::parse(&signed.text);
    json!({
        "id": mongo::from_bson(signed.id),
        "number": signed.number,
        "signed_at": time(signed.signed_at),
        "previous_hash": parsed.as_ref().and_then(|checkpoint| checkpoint.previous_hash.as_deref()),
        "hash": checkpoint::hash(&signed.text),
        "heads": parsed.as_ref().map(|checkpoint| &checkpoint.heads),
        "text": signed.text,
        "key_id": signed.key_id,
        "public_key": base64(&signed.public_key.bytes),
        "signature": base64(&signed.signature.bytes),
    })
}

fn certificate_to_json(certificate: &Certificate) -> Json {
    json!({
        "id": mongo::from_bson(certificate.id),
        "from": time(certificate.hour.from),
        "until": time(certificate.hour.until()),
        "revision": certificate.hour.revision,
        "certified_at": time(certificate.certified_at),
        "complete": certificate.complete,
        "topics": certificate.topics,
    })
}

fn time(micros: i64) -> Option<String> {
    Timestamp::from_micros(micros).map(|time| time.to_string()).ok()
}
