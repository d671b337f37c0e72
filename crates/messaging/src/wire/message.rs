//! Messages with their envelopes: received ones, and outgoing ones.

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

/// A decoded message that was received. Dereferences to its body.
#[derive(Debug)]
pub struct Received<M> {
    pub envelope: Envelope,
    pub body: M,
    pub partition: TopicPartition,
    pub offset: i64,
    /// The context of the `process` span while the message is being handled. Messages that are published meanwhile become its
    /// children.
    pub(crate) span: OnceLock<opentelemetry::Context>,
}

impl<M> Received<M> {
    /// Creates a message from its parts.
    pub fn new(envelope: Envelope, body: M, partition: TopicPartition, offset: i64) -> Self {
        Self {
            envelope,
            body,
            partition,
            offset,
            span: OnceLock::new(),
        }
    }

    /// Returns what messages inherit that are published because of this one.
    pub fn cause(&self) -> Cause {
        Cause {
            trace: self.span.get().cloned(),
            ..Cause::of(&self.envelope)
        }
    }
}

impl<C: Message> Received<C> {
    /// Returns the command as `decide` sees it. Its time is when it was published, not when it is executed.
    pub fn to_command(&self) -> Command<C> {
        Command {
            id: self.envelope.id,
            key: self.envelope.key,
            actor: self.envelope.actor.clone(),
            time: self.envelope.time,
            expected_version: self.envelope.expected_version,
            last_attempt: deferral::delay_before(self.envelope.attempt.saturating_add(1)).is_none(),
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

/// The cause of a message: its causation, its correlation, its actor and its trace.
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
    /// Returns a message as the cause, without a separate span: its trace context is passed on unchanged.
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

    /// Returns `traceparent` and `tracestate`, to store with work that is done later. [`remote_context`] reads them.
    ///
    /// [`remote_context`]: crate::remote_context
    pub fn trace_context(&self) -> (Option<String>, Option<String>) {
        match &self.trace {
            Some(context) => trace_context::render(context.span().span_context()),
            None => (self.trace_parent.clone(), self.trace_state.clone()),
        }
    }

    /// Returns the origin of a chain of messages, for example a request. `correlation_id` identifies the chain, `trace`
    /// contains the span of the origin.
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

/// A message to publish, before it is encoded.
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
    /// The topic, with prefix; `None` for the topic of the message type.
    pub topic: Option<String>,
}

impl<M: Message> Outgoing<M> {
    /// Creates a message for `key` with a new id and the present time.
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

    /// Sets the number within (topic, key).
    #[must_use]
    pub fn sequence(mut self, sequence: i64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// Delays the message: it is published when it is due.
    #[must_use]
    pub fn due_at(mut self, time: Timestamp) -> Self {
        self.due_at = Some(time);
        self
    }

    /// Sets the actor, if it is not the actor of the cause.
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

    /// Sets the topic, with prefix, for the reply.
    #[must_use]
    pub fn reply_to(mut self, topic: impl Into<String>) -> Self {
        self.reply_to = Some(topic.into());
        self
    }

    /// Sets a topic, with prefix, that differs from the topic of the message type. The command names the topic of its reply.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }
}
