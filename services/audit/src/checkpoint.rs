//! Checkpoints: the heads of all trees at one time, in the form of the text that is signed. Pure.

use std::fmt::Write as _;

use contracts::{CheckpointHead, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::entry::hex;

/// The first line of the text. A different form gets a different number.
const TITLE: &str = "rollcall audit checkpoint 1";

/// The content of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// Number of the checkpoint, from 1, without gaps.
    pub(crate) number: i64,
    pub(crate) id: Uuid,
    pub(crate) signed_at: Timestamp,
    pub(crate) key_id: String,
    /// [`hash`] of the text of the previous checkpoint.
    pub(crate) previous_hash: Option<String>,
    /// The heads, ordered by topic and partition. Trees without entries have none.
    pub(crate) heads: Vec<CheckpointHead>,
}

impl Checkpoint {
    /// Returns the text that is signed. The README describes its form. Each line ends with a line feed.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{TITLE}\nnumber {}\nid {}\nsigned_at {}\nkey {}\nprevious {}\n",
            self.number,
            self.id,
            self.signed_at.as_micros(),
            self.key_id,
            self.previous_hash.as_deref().unwrap_or("-"),
        );
        for head in &self.heads {
            let CheckpointHead {
                topic,
                partition,
                size,
                root,
            } = head;
            writeln!(text, "{topic} {partition} {size} {root}").expect("writing to a string never fails");
        }
        text
    }

    /// Parses the text of a checkpoint. Returns `None` unless it is exactly as [`text`](Self::text) writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == TITLE).then_some(())?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let number = field("number")?.parse().ok()?;
        let id = field("id")?.parse().ok()?;
        let signed_at = Timestamp::from_micros(field("signed_at")?.parse().ok()?).ok()?;
        let key_id = field("key")?;
        let previous_hash = Some(field("previous")?).filter(|hash| hash != "-");
        let heads = lines.map(|line| {
            let mut words = line.split(' ');
            Some(CheckpointHead {
                topic: words.next()?.to_owned(),
                partition: words.next()?.parse().ok()?,
                size: words.next()?.parse().ok()?,
                root: words.next()?.to_owned(),
            })
        });
        let checkpoint = Self {
            number,
            id,
            signed_at,
            key_id,
            previous_hash,
            heads: heads.collect::<Option<_>>()?,
        };
        (checkpoint.text() == text).then_some(checkpoint)
    }

    pub(crate) fn head(&self, topic: &str, partition: i32) -> Option<&CheckpointHead> {
        let mut heads = self.heads.iter();
        heads.find(|head| head.topic == topic && head.partition == partition)
    }
}

/// Returns the SHA-256 of a checkpoint's text. The next checkpoint contains it, so they form a chain.
pub(crate) fn hash(text: &str) -> String {
    hex(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            number: 7,
            id: Uuid::from_u128(1),
            signed_at: Timestamp::EPOCH,
            key_id: "0011".to_owned(),
            previous_hash: None,
            heads: vec![CheckpointHead {
                topic: "users.commands".to_owned(),
                partition: 3,
                size: 4_000_000_000,
                root: "6e34".to_owned(),
            }],
        }
    }

    #[test]
    fn a_checkpoint_can_be_parsed_from_its_text() {
        let expected = "rollcall audit checkpoint 1\nnumber 7\nid 00000000-0000-0000-0000-000000000001\nsigned_at 0\n\
                        key 0011\nprevious -\nusers.commands 3 4000000000 6e34\n";
        assert_eq!(checkpoint().text(), expected);
        assert_eq!(Checkpoint::parse(expected), Some(checkpoint()));
    }

    #[test]
    fn a_text_in_any_other_form_is_rejected() {
        let text = checkpoint().text();
        let others = [
            text.replace("number 7", "number 07"),
            text.replace("6e34\n", "6e34"),
            text.replace("6e34", "6e34 more"),
            text.replace('\n', "\r\n"),
            text.replace("checkpoint 1", "checkpoint 2"),
            String::new(),
        ];
        for other in others {
            assert_eq!(Checkpoint::parse(&other), None, "{other}");
        }
    }
}
