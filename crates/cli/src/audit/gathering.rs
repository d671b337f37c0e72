//! Asks the audit service for all that an export holds.

use contracts::{AuditQuery, FindCheckpoints, ReadAuditLog};
use serde::Deserialize;
use serde_json::Value;

use super::lines::{FORMAT, Line};

/// Checkpoints on a page.
const CHECKPOINTS: i32 = 200;
/// Entries on a page: more than fit into an answer.
const ENTRIES: i32 = 1_000;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble<E> {
    #[error("the question was not answered")]
    Asking(#[source] E),
    #[error("the audit service's answer can't be read")]
    Answer(#[source] serde_json::Error),
    #[error("the file can't be written")]
    Writing(#[source] std::io::Error),
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

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) entries: u64,
    pub(super) checkpoints: usize,
}

/// The log up to its newest checkpoint, line by line. `None`: no checkpoint was signed yet. `progress` hears how many
/// entries there are of how many.
pub(super) async fn gather<E>(
    mut ask: impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
    mut write: impl FnMut(&Line) -> std::io::Result<()>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Option<Gathered>, Trouble<E>> {
    let checkpoints = checkpoints(&mut ask).await?;
    let Some(newest) = checkpoints.last() else {
        return Ok(None);
    };
    let mut write = |line: Line| write(&line).map_err(Trouble::Writing);
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
            let page = page(&mut ask, head, from).await?;
            for entry in page.entries {
                // What is newer is in no checkpoint.
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
    Ok(Some(Gathered {
        entries,
        checkpoints: checkpoints.len(),
    }))
}

/// All of them, the oldest first.
async fn checkpoints<E>(
    ask: &mut impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
) -> Result<Vec<Checkpoint>, Trouble<E>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let question = FindCheckpoints {
            cursor,
            limit: CHECKPOINTS,
        };
        let answer = ask(question.into()).await.map_err(Trouble::Asking)?;
        let page: Checkpoints = serde_json::from_value(answer).map_err(Trouble::Answer)?;
        all.extend(page.checkpoints);
        cursor = page.next_cursor;
        if cursor.is_none() {
            all.reverse();
            return Ok(all);
        }
    }
}

async fn page<E>(
    ask: &mut impl AsyncFnMut(AuditQuery) -> Result<Value, E>,
    head: &Head,
    from: u64,
) -> Result<Page, Trouble<E>> {
    let question = ReadAuditLog {
        topic: head.topic.clone(),
        partition: head.partition,
        from: i64::try_from(from).unwrap_or(i64::MAX),
        limit: ENTRIES,
    };
    let answer = ask(question.into()).await.map_err(Trouble::Asking)?;
    serde_json::from_value(answer).map_err(Trouble::Answer)
}
