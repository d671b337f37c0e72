//! Replies to commands: the topic `gateway.replies`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{FieldError, message::topic};

topic! {
    /// The reply to one command.
    pub Reply on GATEWAY_REPLIES in "gateway.replies" as "rollcall.gateway.replies" {
        CommandAccepted,
        CommandRejected,
        CommandFailed,
    }
}

/// The command was executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandAccepted {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Version of the aggregate after the command; 0 if the command has no aggregate.
    pub version: i64,
    /// Messages that a read model must have applied to show the command's outcome.
    pub effects: Vec<Effect>,
    /// Result of a query, as JSON; `None` for other commands.
    pub result: Option<String>,
}

/// A domain event or state message that resulted from a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// Without prefix.
    pub topic: String,
    pub key: Uuid,
    /// `ce_sequence` of the record.
    pub sequence: i64,
}

/// The command was rejected. Nothing changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRejected {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Stable, kebab-case, e.g. `email-taken`.
    pub code: String,
    /// One human-readable sentence without personal data.
    pub detail: String,
    /// The invalid fields; empty if no field is invalid.
    pub errors: Vec<FieldError>,
}

/// The command could not be executed and will not be retried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandFailed {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Stable, kebab-case, e.g. `expired`.
    pub code: String,
    /// One human-readable sentence without personal data.
    pub detail: String,
}
