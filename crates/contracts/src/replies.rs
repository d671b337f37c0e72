//! Answers to commands: the topic `gateway.replies`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{FieldError, message::topic};

topic! {
    /// The answer to one command.
    pub Reply on GATEWAY_REPLIES in "gateway.replies" as "rollcall.gateway.replies" {
        CommandAccepted,
        CommandRejected,
        CommandFailed,
    }
}

/// The command was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandAccepted {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Version of the aggregate after the command; 0 where there is no aggregate.
    pub version: i64,
    /// What a reader must have seen to see the command's outcome.
    pub effects: Vec<Effect>,
    /// Answer to a question, as JSON.
    pub result: Option<String>,
}

/// A domain event or state message that a command led to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// Without prefix.
    pub topic: String,
    pub key: Uuid,
    /// Its `ce_sequence`.
    pub sequence: i64,
}

/// The command was refused; nothing changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRejected {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Stable, kebab-case, e.g. `email-taken`.
    pub code: String,
    /// One sentence for people, without personal data.
    pub detail: String,
    /// Empty where no field is at fault.
    pub errors: Vec<FieldError>,
}

/// The command could not be carried out and will not be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandFailed {
    /// `ce_id` of the command.
    pub command_id: Uuid,
    /// Stable, kebab-case, e.g. `expired`.
    pub code: String,
    /// One sentence for people, without personal data.
    pub detail: String,
}
