//! Messages with their envelopes: as they arrive, and as they are said.

use std::ops::Deref;
use std::sync::OnceLock;

use contracts::aggregate::{Actor, Command};
use contracts::{Message, Timestamp};
use opentelemetry::trace::TraceContextExt;
use uuid::Uuid;

use crate::wire::deferral;
use crate::wire::envelope::Envelope;
use crate::wire::record::TopicPartition;
use crate::wire::trace_context;

/// A message that arrived, decoded. Dereferences to its body.
#[derive(Debug)]
pub struct Received<M> {
    pub envelope: Envelope,
    pub body: M,
    pub partition: TopicPartition,
    pub offset: i64,
    /// The `process` span's context while the message is being handled; what is said meanwhile is its child.
    pub(crate) span: OnceLock<opentelemetry::Context>,
}

impl<M> Received<M> {
    pub fn new(envelope: Envelope, body: M, partition: TopicPartition, offset: i64) -> Self {
        Self {
            envelope,
            body,
            partition,
            offset,
            span: OnceLock::new(),
        }
    }

    /// What a message said because of this one inherits.
    pub fn cause(&self) -> Cause {
        Cause {
            trace: self.span.get().cloned(),
            ..Cause::of(&self.envelope)
        }
    }
}

impl<C: Message> Received<C> {
    /// As `decide` sees it: the time is when it was said, whenever it is executed.
    pub fn to_command(&self) -> Command<C> {
        Command {
            id: self.envelope.id,
            key: self.envelope.key,
            actor: self.envelope.actor.clone(),
            time: self.envelope.time,
            expected_version: self.envelope.expected_version,
            last_attempt: deferral::wait_before(self.envelope.attempt.saturating_add(1)).is_none(),
            body: self.body.clone(),
        }
    }
}

impl<M> Deref for Received<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.body
    }
}

/// Why something is said: the chain that a message joins.
#[derive(Debug, Clone)]
pub struct Cause {
    pub id: Option<Uuid>,
    pub correlation_id: Uuid,
    pub actor: Option<Actor>,
    pub(crate) trace: Option<opentelemetry::Context>,
    pub(crate) trace_parent: Option<String>,
    pub(crate) trace_state: Option<String>,
}

impl Cause {
    /// A message as the cause, without a span of its own: its trace context is passed on as it is.
    pub(crate) fn of(envelope: &Envelope) -> Self {
        Self {
            id: Some(envelope.id),
            correlation_id: envelope.correlation_id,
            actor: envelope.actor.clone(),
            trace: None,
            trace_parent: envelope.trace_parent.clone(),
            trace_state: envelope.trace_state.clone(),
        }
    }

    /// `traceparent` and `tracestate`, to keep beside work that is done later: [`remote_context`] reads them.
    ///
    /// [`remote_context`]: crate::remote_context
    pub fn trace_context(&self) -> (Option<String>, Option<String>) {
        match &self.trace {
            Some(context) => trace_context::render(context.span().span_context()),
            None => (self.trace_parent.clone(), self.trace_state.clone()),
        }
    }

    /// The beginning of a chain, e.g. a request: `correlation_id` names it, `trace` is its span.
    pub fn origin(correlation_id: Uuid, actor: Option<Actor>, trace: opentelemetry::Context) -> Self {
        Self {
            id: None,
            correlation_id,
            actor,
            trace: Some(trace),
            trace_parent: None,
            trace_state: None,
        }
    }
}

/// A message to say, before it is encoded.
#[derive(Debug, Clone)]
pub struct Outgoing<M> {
    pub key: Uuid,
    pub body: M,
    pub id: Uuid,
    pub time: Timestamp,
    pub sequence: Option<i64>,
    pub attempt: i32,
    pub due_at: Option<Timestamp>,
    pub expected_version: Option<i64>,
    pub reply_to: Option<String>,
    pub actor: Option<Actor>,
    /// The topic with prefix; where `None`, the one that the message type belongs to.
    pub topic: Option<String>,
}

impl<M: Message> Outgoing<M> {
    /// A message about `key`, said now, under a new id.
    pub fn new(key: Uuid, body: impl Into<M>) -> Self {
        Self {
            key,
            body: body.into(),
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            sequence: None,
            attempt: 0,
            due_at: None,
            expected_version: None,
            reply_to: None,
            actor: None,
            topic: None,
        }
    }

    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = time;
        self
    }

    /// Its number within (topic, key).
    #[must_use]
    pub fn sequence(mut self, sequence: i64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// A delayed message: published when it is due.
    #[must_use]
    pub fn due_at(mut self, time: Timestamp) -> Self {
        self.due_at = Some(time);
        self
    }

    /// On whose behalf, where it is not the cause's actor.
    #[must_use]
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    #[must_use]
    pub fn expected_version(mut self, version: Option<i64>) -> Self {
        self.expected_version = version;
        self
    }

    /// Where the reply goes, with prefix.
    #[must_use]
    pub fn reply_to(mut self, topic: impl Into<String>) -> Self {
        self.reply_to = Some(topic.into());
        self
    }

    /// Another topic than the message type's own (a reply's is named by the command).
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }
}
