//! Documents that are generated from the topic table: `cargo xtask asyncapi` and `cargo xtask messages`.

mod asyncapi;
mod messages;

use std::fs;

use anyhow::Context;
use contracts::Kind;

/// A generated document of `docs/`.
pub(crate) struct Document {
    /// Path from the root.
    pub(crate) path: &'static str,
    /// Command that writes the document.
    pub(crate) command: &'static str,
    /// Function that generates the content.
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

/// Compatibility mode of every schema, as the registry names it.
const COMPATIBILITY: &str = "FULL_TRANSITIVE";

impl Document {
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = crate::tree::root()?.join(self.path);
        fs::write(&path, (self.text)()).with_context(|| format!("cannot write {}", self.path))?;
        println!("{}", self.path);
        Ok(())
    }
}

/// Returns the name of a kind of messages, and its description for consumers.
fn describe(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::DomainEvents => (
            "domain events",
            "Changes of an aggregate, numbered 1, 2, 3… per key (`ce_sequence`). Consumers apply all of them, in order.",
        ),
        Kind::Facts => (
            "facts",
            "Events without an aggregate. A duplicate has the same `ce_id` and is dropped.",
        ),
        Kind::Commands => (
            "commands",
            "Requests, which may be rejected. A duplicate has the same `ce_id` and `ce_attempt` and is dropped. \
             The reply is published on the topic in the header `reply-to`.",
        ),
        Kind::Replies => (
            "replies",
            "Replies to commands. A duplicate has the same `ce_id` and is dropped. `ce_correlationid` is the operation.",
        ),
        Kind::State => (
            "state",
            "The latest state of each key: the highest `ce_sequence` wins. A record without a value deletes the key.",
        ),
    }
}

/// Returns a record's name without its namespace.
fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}
