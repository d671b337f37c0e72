//! Finds checkpoints and certificates, the newest first.

use contracts::{FindCertificates, FindCheckpoints, Timestamp};
use futures::TryStreamExt;
use mongo::{Tx, store_error, to_bson};
use mongodb::bson::{Document, doc};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{
    LONGEST_PAGE, PATIENCE, ROOM, Unanswered, all_valid, failure, fitting, invalid_cursor, invalid_limit, page,
};
use crate::certifier::{Certificate, Hour};
use crate::checkpoint::{self, Checkpoint};
use crate::entry::base64;
use crate::notary::Signed;
use crate::store::{CERTIFICATES, CHECKPOINTS};

pub(super) async fn find_checkpoints(tx: &mut Tx, question: &FindCheckpoints) -> Result<String, Unanswered> {
    let cursor = question.cursor.as_deref().map(|text| text.parse::<i64>().ok());
    let older = older(question.limit, cursor, |number| doc! { "$lt": number })?;
    let found: Vec<Signed> = newest_first(tx, CHECKPOINTS, older, question.limit).await?;
    let rows = fitting(
        shown(&found, question.limit).map(|signed| to_json(signed).to_string()),
        ROOM,
    );
    let next = last(&found, &rows).map(|signed| signed.number.to_string());
    Ok(page("checkpoints", &rows, next))
}

pub(super) async fn find_certificates(tx: &mut Tx, question: &FindCertificates) -> Result<String, Unanswered> {
    let cursor = question.cursor.as_deref().map(|text| {
        let (from, revision) = text.split_once('.')?;
        Some(Hour {
            from: from.parse().ok()?,
            revision: revision.parse().ok()?,
        })
    });
    let older = older(question.limit, cursor, |Hour { from, revision }| {
        doc! { "$lt": { "from": from, "revision": revision } }
    })?;
    let found: Vec<Certificate> = newest_first(tx, CERTIFICATES, older, question.limit).await?;
    let rows = shown(&found, question.limit).map(|certificate| certificate_to_json(certificate).to_string());
    let rows = fitting(rows, ROOM);
    let next = last(&found, &rows).map(|certificate| {
        let Hour { from, revision } = certificate.hour;
        format!("{from}.{revision}")
    });
    Ok(page("certificates", &rows, next))
}

/// The filter for what comes after a cursor.
fn older<C>(limit: i32, cursor: Option<Option<C>>, before: impl FnOnce(C) -> Document) -> Result<Document, Unanswered> {
    let wrong_cursor = matches!(cursor, Some(None)).then(invalid_cursor);
    all_valid(
        invalid_limit(limit, LONGEST_PAGE)
            .into_iter()
            .chain(wrong_cursor)
            .collect(),
    )?;
    let before = cursor.flatten().map(before);
    Ok(before.map_or_else(Document::new, |before| doc! { "_id": before }))
}

/// One more than fit on the page, if there are: then there is a next one.
async fn newest_first<T: DeserializeOwned + Send + Sync + Unpin>(
    tx: &mut Tx,
    collection: &str,
    filter: Document,
    limit: i32,
) -> Result<Vec<T>, Unanswered> {
    let rows = tx.collection::<T>(collection);
    let found = rows
        .find(filter)
        .sort(doc! { "_id": -1 })
        .limit(i64::from(limit) + 1)
        .max_time(PATIENCE)
        .session(tx.session());
    let mut found = found.await.map_err(failure)?;
    found.stream(tx.session()).try_collect().await.map_err(failure)
}

fn shown<T>(found: &[T], limit: i32) -> impl Iterator<Item = &T> {
    found.iter().take(usize::try_from(limit).unwrap_or(1))
}

/// The last row that is on the page, where there are more.
fn last<'a, T>(found: &'a [T], rows: &[String]) -> Option<&'a T> {
    let last = rows.len().checked_sub(1).filter(|_| rows.len() < found.len());
    last.map(|last| &found[last])
}

pub(super) async fn by_id(tx: &mut Tx, id: Uuid) -> Result<Option<Signed>, Unanswered> {
    let checkpoints = tx.collection::<Signed>(CHECKPOINTS);
    let found = checkpoints.find_one(doc! { "id": to_bson(id) }).session(tx.session());
    Ok(found.await.map_err(store_error)?)
}

/// A checkpoint as it is shown.
pub(super) fn to_json(signed: &Signed) -> Json {
    let said = Checkpoint::parse(&signed.text);
    json!({
        "id": mongo::from_bson(signed.id),
        "number": signed.number,
        "signed_at": time(signed.signed_at),
        "previous_hash": said.as_ref().and_then(|said| said.previous_hash.as_deref()),
        "hash": checkpoint::hash(&signed.text),
        "heads": said.as_ref().map(|said| &said.heads),
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
