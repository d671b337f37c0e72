//! The documents that are made from the topic table: `cargo xtask asyncapi` and `cargo xtask messages`.

mod asyncapi;
mod messages;

use std::fs;

use anyhow::Context;
use contracts::Kind;

/// One document of `docs/`.
pub(crate) struct Document {
    /// From the root.
    pub(crate) path: &'static str,
    /// The command that writes it.
    pub(crate) command: &'static str,
    /// What it has to say.
    pub(crate) text: fn() -> String,
}

pub(crate) const ASYNCAPI: Document = Document {
    path: "docs/asyncapi.json",
    command: "cargo xtask asyncapi",
    text: asyncapi::text,
};
pub(crate) const MESSAGES: Document = Document {
    path: "docs/messages.md",
    command: "cargo xtask messages",
    text: messages::text,
};
pub(crate) const ALL: [&Document; 2] = [&ASYNCAPI, &MESSAGES];

/// How every schema may change, as the registry names it.
const COMPATIBILITY: &str = "FULL_TRANSITIVE";

impl Document {
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = crate::tree::root()?.join(self.path);
        fs::write(&path, (self.text)()).with_context(|| format!("{} can't be written", self.path))?;
        println!("{}", self.path);
        Ok(())
    }
}

/// What a topic's messages are, and what that means to whoever reads them.
fn described(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::DomainEvents => (
            "domain events",
            "What happened to an aggregate. Numbered 1, 2, 3… for each key (`ce_sequence`), applied completely and in order.",
        ),
        Kind::Facts => (
            "facts",
            "What happened, without an aggregate. A copy has the same `ce_id`, and is dropped.",
        ),
        Kind::Commands => (
            "commands",
            "Requests, which may be rejected. A copy has the same `ce_id` and `ce_attempt`, and is dropped. \
             The answer goes to the topic that `reply-to` names.",
        ),
        Kind::Replies => (
            "replies",
            "Answers to commands. A copy has the same `ce_id`, and is dropped. `ce_correlationid` is the operation.",
        ),
        Kind::State => (
            "state",
            "The newest state of each key: the higher `ce_sequence` wins. A record without a value deletes the key.",
        ),
    }
}

/// A record's name without its namespace.
fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}
