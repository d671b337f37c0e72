//! Queries the audit service for the content of an export and writes it line by line.

use contracts::{AuditQuery, FindCheckpoints, ReadAuditLog};
use serde::Deserialize;
use serde_json::Value;

use super::lines::{FORMAT, Line};

/// Maximum number of checkpoints on a page.
const CHECKPOINTS: i32 = 200;
/// Maximum number of entries on a page. More than fit into a reply, so the service decides the page size.
const ENTRIES: i32 = 1_000;

/// Reason why an export failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError<E> {
    #[error("the audit service did not accept the query")]
    Query(#[source] E),
    #[error("cannot decode the reply of the audit service")]
    Reply(#[source] serde_json::Error),
    #[error("cannot write the export")]
    Write(#[source] std::io::Error),
}

#[derive(Deserialize)]
struct Checkpoints {
    checkpoints: Vec<Checkpoint>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Checkpoint {
    heads: Option<Vec<Head>>,
    text: String,
    key_id: String,
    public_key: String,
    signature: String,
}

#[derive(Deserialize)]
struct Head {
    topic: String,
    partition: i32,
    size: u64,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    index: Option<u64>,
    leaf: Option<String>,
    leaf_hash: Option<String>,
    content: Option<String>,
    value: Option<String>,
}

/// Size of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) entries: u64,
    pub(super) checkpoints: usize,
}

/// Writes the log up to its newest checkpoint. Returns `None` if no checkpoint has been signed yet.
///
/// Calls `progress` with the number of entries that are written and their total number.
pub(super) async fn write_export<E>(
    mut query: impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
    mut write: impl FnMut(&Line) -> std::io::Result<()>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Option<Exported>, ExportError<E>> {
    let checkpoints = checkpoints(&mut query).await?;
    let Some(newest) = checkpoints.last() else {
        return Ok(None);
    };
    let mut write = |line: Line| write(&line).map_err(ExportError::Write);
    write(Line::Export { format: FORMAT })?;
    let mut keys: Vec<&str> = Vec::new();
    for Checkpoint { key_id, public_key, .. } in &checkpoints {
        if !keys.contains(&key_id.as_str()) {
            keys.push(key_id);
            write(Line::Key {
                key_id: key_id.clone(),
                public_key: public_key.clone(),
            })?;
        }
    }
    for Checkpoint { text, signature, .. } in &checkpoints {
        write(Line::Checkpoint {
            text: text.clone(),
            signature: signature.clone(),
        })?;
    }
    let heads = newest.heads.as_deref().unwrap_or_default();
    let total = heads.iter().map(|head| head.size).sum();
    let mut entries = 0;
    for head in heads {
        let mut next = Some(0).filter(|_| head.size > 0);
        while let Some(from) = next {
            let page = page(&mut query, head, from).await?;
            for entry in page.entries {
                // The checkpoint does not cover newer entries.
                let Some(index) = entry.index.filter(|index| *index < head.size) else {
                    continue;
                };
                entries += 1;
                write(Line::Entry {
                    topic: head.topic.clone(),
                    partition: head.partition,
                    index,
                    leaf: entry.leaf,
                    leaf_hash: entry.leaf_hash,
                    content: entry.content,
                    value: entry.value,
                })?;
            }
            progress(entries, total);
            next = page.next.filter(|next| (from + 1..head.size).contains(next));
        }
    }
    Ok(Some(Exported {
        entries,
        checkpoints: checkpoints.len(),
    }))
}

/// Returns all checkpoints, oldest first.
async fn checkpoints<E>(
    query: &mut impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
) -> Result<Vec<Checkpoint>, ExportError<E>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let find = FindCheckpoints {
            cursor,
            limit: CHECKPOINTS,
        };
        let result = query(find.into()).await.map_err(ExportError::Query)?;
        let page: Checkpoints = serde_json::from_value(result).map_err(ExportError::Reply)?;
        all.extend(page.checkpoints);
        cursor = page.next_cursor;
        if cursor.is_none() {
            all.reverse();
            return Ok(all);
        }
    }
}

async fn page<E>(
    query: &mut impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
    head: &Head,
    from: u64,
) -> Result<Page, ExportError<E>> {
    let read = ReadAuditLog {
        topic: head.topic.clone(),
        partition: head.partition,
        from: i64::try_from(from).unwrap_or(i64::MAX),
        limit: ENTRIES,
    };
    let result = query(read.into()).await.map_err(ExportError::Query)?;
    serde_json::from_value(result).map_err(ExportError::Reply)
}
