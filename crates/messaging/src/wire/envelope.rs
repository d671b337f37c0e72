//! The envelope of a message: CloudEvents 1.0 as headers, in the binary mode of the Kafka binding.
//!
//! Sources: CloudEvents 1.0.2, its Kafka protocol binding 1.0.2, the `sequence` extension, W3C Trace Context.

use contracts::Timestamp;
use contracts::aggregate::Actor;
use uuid::Uuid;

use crate::wire::record::{Headers, Record};

/// The header names of an envelope.
pub mod header {
    pub const SPEC_VERSION: &str = "ce_specversion";
    pub const ID: &str = "ce_id";
    pub const SOURCE: &str = "ce_source";
    pub const TYPE: &str = "ce_type";
    pub const TIME: &str = "ce_time";
    pub const SUBJECT: &str = "ce_subject";
    pub const DATA_SCHEMA: &str = "ce_dataschema";
    pub const SEQUENCE: &str = "ce_sequence";
    pub const CORRELATION_ID: &str = "ce_correlationid";
    pub const CAUSATION_ID: &str = "ce_causationid";
    pub const ACTOR: &str = "ce_actor";
    pub const ATTEMPT: &str = "ce_attempt";
    pub const DUE_AT: &str = "ce_dueat";
    pub const EXPECTED_VERSION: &str = "ce_expectedversion";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const REPLY_TO: &str = "reply-to";
    pub const TRACE_PARENT: &str = "traceparent";
    pub const TRACE_STATE: &str = "tracestate";

    /// All headers of an envelope, in the order in which they are sent.
    pub const ALL: [&str; 18] = [
        SPEC_VERSION,
        ID,
        SOURCE,
        TYPE,
        TIME,
        SUBJECT,
        DATA_SCHEMA,
        CONTENT_TYPE,
        SEQUENCE,
        CORRELATION_ID,
        CAUSATION_ID,
        ACTOR,
        ATTEMPT,
        DUE_AT,
        EXPECTED_VERSION,
        REPLY_TO,
        TRACE_PARENT,
        TRACE_STATE,
    ];

    /// Maximum length of one header's value in bytes, because a value that is passed on must fit into the next message.
    /// W3C Trace Context requires room for a `tracestate` of 512 bytes.
    pub const LONGEST: usize = 512;
}

/// The value of the header `content-type`.
pub const CONTENT_TYPE: &str = "application/avro";

/// The metadata of a message, which its headers carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// `ce_id`: identifies the message. All copies of the message have the same id.
    pub id: Uuid,
    /// `ce_source`: `/rollcall/<service>`.
    pub source: String,
    /// `ce_type`: the Avro record's full name.
    pub type_name: String,
    /// `ce_time`: when the message was published.
    pub time: Timestamp,
    /// `ce_subject`, equal to the record's key: the aggregate's id.
    pub key: Uuid,
    /// `ce_sequence`: the number within (topic, key). Only domain events and state messages have one.
    pub sequence: Option<i64>,
    /// `ce_correlationid`: the operation that the message belongs to.
    pub correlation_id: Uuid,
    /// `ce_causationid`: the message that led to this one.
    pub causation_id: Option<Uuid>,
    /// `ce_actor`: the actor on whose behalf the message was published.
    pub actor: Option<Actor>,
    /// `ce_attempt`: how often the command was deferred before.
    pub attempt: i32,
    /// `ce_dueat`: the time before which a delayed message is not published.
    pub due_at: Option<Timestamp>,
    /// `ce_expectedversion`: the version of the aggregate that the sender saw.
    pub expected_version: Option<i64>,
    /// The topic, with prefix, for the reply to a command.
    pub reply_to: Option<String>,
    /// W3C trace context of the message's `create` span.
    pub trace_parent: Option<String>,
    pub trace_state: Option<String>,
}

/// The reason why a record has no usable envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {0} cannot be read")]
    Unreadable(&'static str),
    #[error("the record key is not the UUID in ce_subject")]
    WrongKey,
}

impl Envelope {
    /// Reads the headers and the key of a record.
    ///
    /// # Errors
    /// Returns an error if a required header is missing or cannot be read, or if the key is not the UUID in `ce_subject`.
    pub fn of(record: &Record) -> Result<Self, EnvelopeError> {
        let headers = &record.headers;
        let key = key_of(record).ok_or(EnvelopeError::WrongKey)?;
        if required::<Uuid>(headers, header::SUBJECT)? != key {
            return Err(EnvelopeError::WrongKey);
        }
        Ok(Self {
            id: required(headers, header::ID)?,
            source: required(headers, header::SOURCE)?,
            type_name: required(headers, header::TYPE)?,
            time: required(headers, header::TIME)?,
            key,
            sequence: optional(headers, header::SEQUENCE)?,
            correlation_id: required(headers, header::CORRELATION_ID)?,
            causation_id: optional(headers, header::CAUSATION_ID)?,
            actor: optional(headers, header::ACTOR)?,
            attempt: optional(headers, header::ATTEMPT)?.unwrap_or(0),
            due_at: optional(headers, header::DUE_AT)?,
            expected_version: optional(headers, header::EXPECTED_VERSION)?,
            reply_to: optional(headers, header::REPLY_TO)?,
            // An invalid trace context is ignored, because it must not cost a message.
            trace_parent: optional(headers, header::TRACE_PARENT).unwrap_or(None),
            trace_state: optional(headers, header::TRACE_STATE).unwrap_or(None),
        })
    }

    /// Returns the headers to send. `ce_dataschema` contains the registry id of the schema.
    pub fn to_headers(&self, schema_id: Option<i32>) -> Headers {
        let mut headers = Vec::with_capacity(14);
        let mut set = |name: &str, value: String| headers.push((name.to_owned(), value));
        set(header::SPEC_VERSION, "1.0".to_owned());
        set(header::ID, self.id.to_string());
        set(header::SOURCE, self.source.clone());
        set(header::TYPE, self.type_name.clone());
        set(header::TIME, self.time.to_string());
        set(header::SUBJECT, self.key.to_string());
        if let Some(id) = schema_id {
            set(header::DATA_SCHEMA, format!("urn:rollcall:schema:{id}"));
        }
        set(header::CONTENT_TYPE, CONTENT_TYPE.to_owned());
        if let Some(sequence) = self.sequence {
            // The extension requires lexicographic order. Every positive i64 fits into 19 digits.
            set(header::SEQUENCE, format!("{sequence:019}"));
        }
        set(header::CORRELATION_ID, self.correlation_id.to_string());
        if let Some(id) = self.causation_id {
            set(header::CAUSATION_ID, id.to_string());
        }
        if let Some(actor) = &self.actor {
            set(header::ACTOR, actor.to_string());
        }
        if self.attempt > 0 {
            set(header::ATTEMPT, self.attempt.to_string());
        }
        if let Some(due_at) = self.due_at {
            set(header::DUE_AT, due_at.to_string());
        }
        if let Some(version) = self.expected_version {
            set(header::EXPECTED_VERSION, version.to_string());
        }
        if let Some(topic) = &self.reply_to {
            set(header::REPLY_TO, topic.clone());
        }
        if let Some(context) = &self.trace_parent {
            set(header::TRACE_PARENT, context.clone());
        }
        if let Some(state) = &self.trace_state {
            set(header::TRACE_STATE, state.clone());
        }
        Headers(headers)
    }
}

impl Envelope {
    /// Returns the time from which the message could be applied: when it fell due, or else when it was published.
    pub(crate) fn since(&self) -> Timestamp {
        self.due_at.unwrap_or(self.time)
    }
}

/// The position of a record in the order of its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPosition {
    pub(crate) key: Uuid,
    pub(crate) sequence: i64,
    /// `ce_id`, or the nil UUID if it cannot be read.
    pub(crate) id: Uuid,
}

impl KeyPosition {
    /// Reads the position of a record whose envelope cannot be read completely, so its key can be parked.
    ///
    /// Returns `None` if the key or the sequence cannot be read, or if the key is not the UUID in `ce_subject`.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let key = key_of(record)?;
        let headers = &record.headers;
        if required::<Uuid>(headers, header::SUBJECT).is_ok_and(|subject| subject != key) {
            return None;
        }
        let sequence = required(headers, header::SEQUENCE)
            .ok()
            .filter(|sequence| *sequence > 0)?;
        Some(Self {
            key,
            sequence,
            id: required(headers, header::ID).unwrap_or_default(),
        })
    }
}

/// Returns the record's key as a UUID, or `None` if it is not the text of one.
fn key_of(record: &Record) -> Option<Uuid> {
    let key = record.key.as_deref()?;
    Uuid::try_parse(std::str::from_utf8(key).ok()?).ok()
}

fn required<T: std::str::FromStr>(headers: &Headers, name: &'static str) -> Result<T, EnvelopeError> {
    optional(headers, name)?.ok_or(EnvelopeError::Missing(name))
}

fn optional<T: std::str::FromStr>(headers: &Headers, name: &'static str) -> Result<Option<T>, EnvelopeError> {
    let Some(text) = headers.get(name) else {
        return Ok(None);
    };
    if text.len() > header::LONGEST || text.contains(char::is_control) {
        return Err(EnvelopeError::Unreadable(name));
    }
    text.parse().map(Some).map_err(|_| EnvelopeError::Unreadable(name))
}
