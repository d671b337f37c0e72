//! Reads the log of one topic partition in order, for an export.

use contracts::ReadAuditLog;
use futures::TryStreamExt;
use mongo::Tx;
use mongodb::bson::doc;
use serde_json::json;

use super::{LONGEST_READ, PATIENCE, ROOM, Unanswered, all_valid, damaged, failure, invalid, invalid_limit};
use crate::entry::{Entry, base64, hex};
use crate::merkle::WIDTH;
use crate::store::ENTRIES;
use crate::tree::{Tree, TreeId};
use crate::{leaf, recorded};

/// Of the room for an answer, what is not for entries.
const FRAME: usize = 1024;

pub(super) async fn read(tx: &mut Tx, question: &ReadAuditLog) -> Result<String, Unanswered> {
    let mut errors: Vec<_> = invalid_limit(question.limit, LONGEST_READ).into_iter().collect();
    match recorded().find(|topic| topic.name == question.topic) {
        None => errors.push(invalid("topic", "must be one that is recorded")),
        Some(topic) if !(0..topic.partitions).contains(&question.partition) => {
            errors.push(invalid(
                "partition",
                format!("must be from 0 to {}", topic.partitions - 1),
            ));
        }
        Some(_) => {}
    }
    if question.from < 0 {
        errors.push(invalid("from", "must be at least 0"));
    }
    all_valid(errors)?;

    let tree = Tree::read(tx, TreeId::new(&question.topic, question.partition)).await?;
    let (rows, last) = rows(tx, &tree, question).await?;
    let next = last.map(|last| last + 1).filter(|next| *next < tree.size());
    Ok(format!(
        r#"{{"topic":{},"partition":{},"size":{},"entries":[{}],"next":{}}}"#,
        json!(question.topic),
        question.partition,
        tree.size(),
        rows.join(","),
        json!(next),
    ))
}

/// From `from` on, as many as are asked for and there is room for; and the index of the last one. An entry that was
/// taken out of the store is not there: whoever reads on sees that.
async fn rows(tx: &mut Tx, tree: &Tree, question: &ReadAuditLog) -> Result<(Vec<String>, Option<i64>), Unanswered> {
    let (mut rows, mut last, mut size) = (Vec::new(), None, 0);
    if question.from >= tree.size() {
        return Ok((rows, last));
    }
    let first = tree.offset_near(tx, question.from).await?.ok_or_else(damaged)?;
    // Leaves that share the tile with the first one come before it.
    let before = question.from % WIDTH as i64;
    let entries = tx.collection::<Entry>(ENTRIES);
    let found = entries
        .find(doc! { "_id": { "$gte": tree.id.place(first), "$lte": tree.id.place(tree.last_offset) } })
        .sort(doc! { "_id": 1 })
        .limit(before + i64::from(question.limit))
        .max_time(PATIENCE)
        .session(tx.session());
    let mut found = found.await.map_err(failure)?;
    let mut found = found.stream(tx.session());
    while let Some(entry) = found.try_next().await.map_err(failure)? {
        if entry.index < Some(question.from) {
            continue;
        }
        let row = row(&entry);
        size += row.len() + 1;
        if size > ROOM - FRAME && !rows.is_empty() {
            break;
        }
        rows.push(row);
        last = entry.index;
    }
    Ok((rows, last))
}

/// What an entry asserts. What is too large for an answer is left out: its hash is in the leaf.
fn row(entry: &Entry) -> String {
    let leaf = leaf::text(entry);
    let hash = entry.leaf_hash.as_ref().map(|hash| hex(&hash.bytes));
    let value = entry.value.as_ref().map(|value| base64(&value.bytes));
    let row = |leaf: Option<&str>, content: Option<&str>, value: Option<&str>| {
        json!({ "index": entry.index, "leaf": leaf, "leaf_hash": hash, "content": content, "value": value }).to_string()
    };
    let (content, value) = (entry.content.as_deref(), value.as_deref());
    let tries = [
        (Some(leaf.as_str()), content, value),
        (Some(leaf.as_str()), content, None),
        (Some(leaf.as_str()), None, None),
    ];
    let mut tries = tries
        .into_iter()
        .map(|(leaf, content, value)| row(leaf, content, value));
    tries
        .find(|text| text.len() < ROOM - FRAME)
        .unwrap_or_else(|| row(None, None, None))
}
