//! Verifies the log against its hashes, its trees and its checkpoints, one step at a time.

mod checkpoints;
mod leaves;

use std::time::{Duration, Instant};

use contracts::{Rejection, VerifyAuditLog};
use mongo::Tx;
use serde::Serialize;
use serde_json::json;

use super::{QueryError, all_valid, invalid, invalid_cursor};
use crate::recorded;
use crate::tree::TreeId;

/// Approximate maximum time of one reply, because other queries wait.
const MAX_TIME: Duration = Duration::from_secs(2);
/// Approximate maximum number of findings in one reply.
const MAX_FINDINGS: usize = 100;

pub(super) async fn verify(tx: &mut Tx, query: &VerifyAuditLog) -> Result<String, QueryError> {
    let topic = query.topic.as_deref();
    let mut next = Some(Cursor::parse(query)?);
    let mut report = Report::default();
    let started = Instant::now();
    while let Some(cursor) = next {
        next = match cursor {
            Cursor::Leaves { tree, from } => match leaves::verify(tx, &tree, from, &mut report).await? {
                Some(from) => Some(Cursor::Leaves { tree, from }),
                None => Some(Cursor::after(&tree, topic)),
            },
            Cursor::Checkpoints { from } => {
                let next = checkpoints::verify(tx, topic, from, &mut report).await?;
                next.map(|from| Cursor::Checkpoints { from })
            }
        };
        if started.elapsed() > MAX_TIME || report.findings.len() >= MAX_FINDINGS {
            break;
        }
    }
    let result = json!({
        "valid": report.findings.is_empty(),
        "checked": report.checked,
        "findings": report.findings,
        "next_cursor": next.map(|cursor| cursor.to_string()),
    });
    Ok(result.to_string())
}

/// The numbers of checked objects, and the discrepancies that were found.
#[derive(Debug, Default)]
struct Report {
    checked: Checked,
    findings: Vec<Discrepancy>,
}

#[derive(Debug, Default, Serialize)]
struct Checked {
    entries: u64,
    tiles: u64,
    checkpoints: u64,
}

#[derive(Debug, Serialize)]
struct Discrepancy {
    kind: &'static str,
    #[serde(rename = "where")]
    location: String,
    detail: String,
}

impl Report {
    fn add(&mut self, kind: &'static str, location: impl ToString, detail: impl Into<String>) {
        self.findings.push(Discrepancy {
            kind,
            location: location.to_string(),
            detail: detail.into(),
        });
    }
}

/// The position of the verification: first the leaves of every tree, then the checkpoints.
#[derive(Debug, Clone, PartialEq)]
enum Cursor {
    Leaves { tree: TreeId, from: i64 },
    Checkpoints { from: i64 },
}

impl Cursor {
    fn parse(query: &VerifyAuditLog) -> Result<Self, Rejection> {
        let topic = query.topic.as_deref();
        let first = trees(topic).next();
        let wrong_topic = first.is_none().then(|| invalid("topic", "must be a recorded topic"));
        let cursor = query.cursor.as_deref().map(|text| Self::read(text, topic));
        let wrong_cursor = matches!(cursor, Some(None)).then(invalid_cursor);
        all_valid(wrong_topic.into_iter().chain(wrong_cursor).collect())?;
        let start = first.map(|tree| Self::Leaves { tree, from: 0 });
        Ok(cursor.flatten().or(start).unwrap_or(Self::Checkpoints { from: 1 }))
    }

    /// Parses the text that [`Display`](std::fmt::Display) writes.
    fn read(text: &str, topic: Option<&str>) -> Option<Self> {
        let (stage, at) = text.split_once('.')?;
        if stage == "checkpoints" {
            return Some(Self::Checkpoints { from: at.parse().ok()? });
        }
        let (name, from) = at.rsplit_once('-')?;
        let tree = trees(topic).find(|tree| tree.to_string() == name)?;
        let from = from
            .parse()
            .ok()
            .filter(|from| *from >= 0 && from % leaves::STEP == 0)?;
        (stage == "leaves").then_some(Self::Leaves { tree, from })
    }

    /// Returns the position after a tree.
    fn after(tree: &TreeId, topic: Option<&str>) -> Self {
        let mut rest = trees(topic).skip_while(|other| other != tree).skip(1);
        let next = rest.next().map(|tree| Self::Leaves { tree, from: 0 });
        next.unwrap_or(Self::Checkpoints { from: 1 })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leaves { tree, from } => write!(f, "leaves.{tree}-{from}"),
            Self::Checkpoints { from } => write!(f, "checkpoints.{from}"),
        }
    }
}

/// Returns the ids of all trees that may exist, so a tree that was removed from the store is checked too.
fn trees(topic: Option<&str>) -> impl Iterator<Item = TreeId> {
    recorded()
        .filter(move |known| topic.is_none_or(|topic| topic == known.name))
        .flat_map(|topic| (0..topic.partitions).map(|partition| TreeId::new(topic.name, partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_can_be_parsed_from_its_text() {
        let leaves = Cursor::Leaves {
            tree: TreeId::new("users.commands", 11),
            from: 2 * leaves::STEP,
        };
        for cursor in [leaves, Cursor::Checkpoints { from: 7 }] {
            assert_eq!(Cursor::read(&cursor.to_string(), None), Some(cursor));
        }
        for text in [
            "",
            "leaves",
            "leaves.users-1",
            "leaves.users-99-0",
            "leaves.users-1-1",
            "checkpoints.x",
            "x.1",
        ] {
            assert_eq!(Cursor::read(text, None), None, "{text}");
        }
        assert_eq!(Cursor::read("leaves.users-1-0", Some("events")), None, "another topic");
    }

    #[test]
    fn every_tree_is_verified_once_before_the_checkpoints() {
        let mut cursor = Cursor::Leaves {
            tree: TreeId::new("users", 0),
            from: 0,
        };
        let mut seen = 0;
        while let Cursor::Leaves { tree, .. } = &cursor {
            seen += 1;
            cursor = Cursor::after(tree, Some("users"));
        }
        assert_eq!((seen, cursor), (12, Cursor::Checkpoints { from: 1 }));
    }
}
