//! Reads the log of one topic partition in order, for an export.

use contracts::ReadAuditLog;
use futures::TryStreamExt;
use mongo::Tx;
use mongodb::bson::doc;
use serde_json::json;

use super::{
    MAX_READ_ENTRIES, MAX_RESULT_BYTES, QUERY_TIMEOUT, QueryError, all_valid, damaged, failure, invalid, invalid_limit,
};
use crate::entry::{Entry, base64, hex};
use crate::merkle::WIDTH;
use crate::store::ENTRIES;
use crate::tree::{Tree, TreeId};
use crate::{leaf, recorded};

/// Size of a result without its entries, in bytes, rounded up.
const FRAME_BYTES: usize = 1024;

pub(super) async fn read(tx: &mut Tx, query: &ReadAuditLog) -> Result<String, QueryError> {
    let mut errors: Vec<_> = invalid_limit(query.limit, MAX_READ_ENTRIES).into_iter().collect();
    match recorded().find(|topic| topic.name == query.topic) {
        None => errors.push(invalid("topic", "must be a recorded topic")),
        Some(topic) if !(0..topic.partitions).contains(&query.partition) => {
            errors.push(invalid(
                "partition",
                format!("must be from 0 to {}", topic.partitions - 1),
            ));
        }
        Some(_) => {}
    }
    if query.from < 0 {
        errors.push(invalid("from", "must be at least 0"));
    }
    all_valid(errors)?;

    let tree = Tree::read(tx, TreeId::new(&query.topic, query.partition)).await?;
    let (rows, last) = rows(tx, &tree, query).await?;
    let next = last.map(|last| last + 1).filter(|next| *next < tree.size());
    Ok(format!(
        r#"{{"topic":{},"partition":{},"size":{},"entries":[{}],"next":{}}}"#,
        json!(query.topic),
        query.partition,
        tree.size(),
        rows.join(","),
        json!(next),
    ))
}

/// Returns the entries from `from` on, up to the limit of the query and the maximum size, and the index of the last one.
///
/// An entry that was removed from the store is missing in the result, so the reader sees a gap in the indexes.
async fn rows(tx: &mut Tx, tree: &Tree, query: &ReadAuditLog) -> Result<(Vec<String>, Option<i64>), QueryError> {
    let (mut rows, mut last, mut size) = (Vec::new(), None, 0);
    if query.from >= tree.size() {
        return Ok((rows, last));
    }
    let first = tree.offset_near(tx, query.from).await?.ok_or_else(damaged)?;
    // The first offset of the tile may belong to a leaf before `from`.
    let before = query.from % WIDTH as i64;
    let entries = tx.collection::<Entry>(ENTRIES);
    let found = entries
        .find(doc! { "_id": { "$gte": tree.id.entry_id(first), "$lte": tree.id.entry_id(tree.last_offset) } })
        .sort(doc! { "_id": 1 })
        .limit(before + i64::from(query.limit))
        .max_time(QUERY_TIMEOUT)
        .session(tx.session());
    let mut found = found.await.map_err(failure)?;
    let mut found = found.stream(tx.session());
    while let Some(entry) = found.try_next().await.map_err(failure)? {
        if entry.index < Some(query.from) {
            continue;
        }
        let row = row(&entry);
        size += row.len() + 1;
        if size > MAX_RESULT_BYTES - FRAME_BYTES && !rows.is_empty() {
            break;
        }
        rows.push(row);
        last = entry.index;
    }
    Ok((rows, last))
}

/// Returns an entry as JSON. Fields that are too large for a result are left out; the leaf contains their hashes.
fn row(entry: &Entry) -> String {
    let leaf = leaf::text(entry);
    let hash = entry.leaf_hash.as_ref().map(|hash| hex(&hash.bytes));
    let value = entry.value.as_ref().map(|value| base64(&value.bytes));
    let row = |leaf: Option<&str>, content: Option<&str>, value: Option<&str>| {
        json!({ "index": entry.index, "leaf": leaf, "leaf_hash": hash, "content": content, "value": value }).to_string()
    };
    let (content, value) = (entry.content.as_deref(), value.as_deref());
    let candidates = [
        (Some(leaf.as_str()), content, value),
        (Some(leaf.as_str()), content, None),
        (Some(leaf.as_str()), None, None),
    ];
    let mut candidates = candidates
        .into_iter()
        .map(|(leaf, content, value)| row(leaf, content, value));
    candidates
        .find(|text| text.len() < MAX_RESULT_BYTES - FRAME_BYTES)
        .unwrap_or_else(|| row(None, None, None))
}
