//! The API of the outbox: encodes messages with their envelopes, and hands committed rows to the relay.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use contracts::{Codec, Kind, Message, topics};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::ledger::{Outbox, OutboxMessage, OutboxRow};
use crate::wire::envelope::Envelope;
use crate::wire::message::{Cause, Outgoing};
use crate::wire::trace;

/// Maximum size of a value in bytes.
///
/// It is below the broker's `message.max.bytes` (1 MiB) by the room that headers need, because a message that cannot be
/// published must never commit.
pub const MAX_VALUE_BYTES: usize = 900 * 1024;

/// Maximum number of batches in the queue from the workers to the relay. Rows that do not fit are found by a sweep.
const HAND_OVER_BATCHES: usize = 4_096;

/// The reason why a message cannot be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{type_name} has {bytes} bytes, but at most {MAX_VALUE_BYTES} bytes can be published")]
    TooLarge { type_name: &'static str, bytes: usize },
    #[error("{type_name} cannot be encoded")]
    Encoding {
        type_name: &'static str,
        #[source]
        source: contracts::codec::Error,
    },
}

/// Encodes messages, and hands committed rows to the relay. Cheap to clone.
pub struct Publisher<L: Outbox> {
    shared: Arc<Shared<L>>,
}

struct Shared<L: Outbox> {
    source: String,
    topic_prefix: String,
    codec: Codec,
    owner: RwLock<Uuid>,
    rows: mpsc::Sender<Vec<OutboxRow<L::RowId>>>,
    sweep: Notify,
    delayed: Notify,
}

/// The receiving end of a [`Publisher`], for the relay.
pub(crate) struct RelayInput<L: Outbox> {
    pub(crate) rows: mpsc::Receiver<Vec<OutboxRow<L::RowId>>>,
    pub(crate) publisher: Publisher<L>,
}

impl<L: Outbox> Publisher<L> {
    /// Creates a publisher. `service` is the name in `ce_source`, `topic_prefix` precedes every topic name.
    pub(crate) fn new(service: &str, topic_prefix: &str, codec: Codec) -> (Self, RelayInput<L>) {
        let (sender, receiver) = mpsc::channel(HAND_OVER_BATCHES);
        let publisher = Self {
            shared: Arc::new(Shared {
                source: format!("/rollcall/{service}"),
                topic_prefix: topic_prefix.to_owned(),
                codec,
                owner: RwLock::new(Uuid::now_v7()),
                rows: sender,
                sweep: Notify::new(),
                delayed: Notify::new(),
            }),
        };
        let handed = RelayInput {
            rows: receiver,
            publisher: publisher.clone(),
        };
        (publisher, handed)
    }

    /// Returns the codec with all schemas that are known so far.
    pub fn codec(&self) -> &Codec {
        &self.shared.codec
    }

    /// Returns the `ce_source` of this service's messages.
    pub fn source(&self) -> &str {
        &self.shared.source
    }

    /// Returns the topic's name on the broker, with prefix.
    pub fn topic_name(&self, topic: &contracts::Topic) -> String {
        topic.full_name(&self.shared.topic_prefix)
    }

    /// Removes the prefix: returns the topic's name in the topic table.
    pub(crate) fn without_prefix<'a>(&self, topic: &'a str) -> &'a str {
        topic.strip_prefix(&self.shared.topic_prefix).unwrap_or(topic)
    }

    /// Adds the prefix.
    pub(crate) fn with_prefix(&self, topic: &str) -> String {
        format!("{}{topic}", self.shared.topic_prefix)
    }

    /// Returns `true` if replies may be published to the topic.
    pub(crate) fn is_for_replies(&self, topic: &str) -> bool {
        topics::ALL
            .iter()
            .any(|known| known.kind == Kind::Replies && self.topic_name(known) == topic)
    }

    /// Encodes a message with its envelope. This is what OpenTelemetry calls `create`: the span that is created here is the
    /// parent of the spans of all processing that the message leads to.
    ///
    /// # Errors
    /// Returns [`AppendError::TooLarge`] if the encoded value exceeds [`MAX_VALUE_BYTES`], and [`AppendError::Encoding`] if
    /// the message cannot be encoded.
    pub fn frame<M: Message>(&self, cause: &Cause, message: Outgoing<M>) -> Result<OutboxMessage, AppendError> {
        let (type_name, is_tombstone) = (message.body.type_name(), message.body.is_tombstone());
        let value = message
            .body
            .encode(&self.shared.codec)
            .map_err(|source| AppendError::Encoding { type_name, source })?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(AppendError::TooLarge {
                type_name,
                bytes: value.len(),
            });
        }
        let topic = match message.topic {
            Some(topic) => topic,
            None => self.topic_name(M::TOPIC),
        };
        let (trace_parent, trace_state) = trace::created(cause, &topic, message.id, message.due_at);
        let envelope = Envelope {
            id: message.id,
            source: self.shared.source.clone(),
            type_name: type_name.to_owned(),
            time: message.time,
            key: message.key,
            sequence: message.sequence,
            correlation_id: cause.correlation_id,
            causation_id: cause.id,
            actor: message.actor.or_else(|| cause.actor.clone()),
            attempt: message.attempt,
            due_at: message.due_at,
            expected_version: message.expected_version,
            reply_to: message.reply_to,
            trace_parent,
            trace_state,
        };
        // A tombstone has neither bytes nor a schema.
        let value = (!is_tombstone).then(|| Bytes::from(value));
        let schema = value
            .as_deref()
            .and_then(|value| contracts::codec::schema_id(value).ok());
        let headers = envelope.to_headers(schema);
        Ok(OutboxMessage {
            topic,
            key: message.key,
            value,
            headers,
            due_at: message.due_at,
        })
    }

    /// Returns the owner id, which is the relay lease, under which rows are appended now.
    pub fn owner(&self) -> Uuid {
        *self.shared.owner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_owner(&self, owner: Uuid) {
        *self.shared.owner.write().unwrap_or_else(PoisonError::into_inner) = owner;
    }

    /// Hands rows to the relay after their commit. Never waits: rows that do not fit into the queue are found by the
    /// relay's sweep.
    pub fn hand_over(&self, rows: Vec<OutboxRow<L::RowId>>) {
        let (ready, delayed): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.message.due_at.is_none());
        if !delayed.is_empty() {
            self.shared.delayed.notify_one();
        }
        if !ready.is_empty() && self.shared.rows.try_send(ready).is_err() {
            self.request_sweep();
        }
    }

    /// Requests that the relay sweeps the outbox for rows of this process.
    pub fn request_sweep(&self) {
        self.shared.sweep.notify_one();
    }

    /// Waits until a sweep is requested.
    pub(crate) async fn sweep_requested(&self) {
        self.shared.sweep.notified().await;
    }

    /// Waits until a delayed row was appended.
    pub(crate) async fn delayed_appended(&self) {
        self.shared.delayed.notified().await;
    }
}

impl<L: Outbox> Clone for Publisher<L> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}
