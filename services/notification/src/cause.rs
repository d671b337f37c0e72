//! The cause of an e-mail, stored with the e-mail until it is sent.

use contracts::Timestamp;
use messaging::{Cause, Received};
use mongo::{from_bson, to_bson};
use mongodb::bson;
use opentelemetry::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::copies::time;

/// The message that caused an e-mail: its ids, its actor, its trace context and its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredCause {
    id: bson::Uuid,
    correlation_id: bson::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<String>,
    /// Time at which the message was published.
    pub(crate) at: bson::DateTime,
}

impl StoredCause {
    pub(crate) fn of<M>(message: &Received<M>) -> Self {
        let cause = message.cause();
        let (trace_parent, trace_state) = cause.trace_context();
        Self {
            id: to_bson(message.envelope.id),
            correlation_id: to_bson(cause.correlation_id),
            actor: cause.actor.map(|actor| actor.to_string()),
            trace_parent,
            trace_state,
            at: published_at(message),
        }
    }

    /// Returns the `ce_id` of the message.
    pub(crate) fn id(&self) -> Uuid {
        from_bson(self.id)
    }

    /// Returns the trace context of the span in which the message was handled.
    pub(crate) fn trace(&self) -> Context {
        messaging::remote_context(self.trace_parent.as_deref(), self.trace_state.as_deref())
    }

    /// Returns the cause for messages that are published because of the e-mail, within the span `trace`.
    pub(crate) fn to_cause(&self, trace: Context) -> Cause {
        let actor = self.actor.as_deref().and_then(|actor| actor.parse().ok());
        let mut cause = Cause::origin(from_bson(self.correlation_id), actor, trace);
        cause.id = Some(self.id());
        cause
    }
}

/// Returns the time at which a message was published, but never a time in the future, because the producer's clock may be
/// ahead.
pub(crate) fn published_at<M>(message: &Received<M>) -> bson::DateTime {
    time(message.envelope.time.min(Timestamp::now()))
}
