//! A record as the pipeline sees it: its decoded content, or the reason why it has none.

use std::collections::BTreeSet;

use contracts::aggregate::Rejection;
use contracts::dead_letters::DeadLetterReason;
use contracts::{Kind, codec};
use uuid::Uuid;

use crate::consuming::any_handler::{AnyMessage, Decoded};
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::sequence::Sequenced;
use crate::consuming::subscription::Subscription;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::envelope::{Envelope, EnvelopeError, KeyPosition};
use crate::wire::record::Record;

/// A record with its decoded content.
pub(crate) struct Arrival {
    pub(crate) record: Record,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Message(Box<dyn AnyMessage>),
    /// A record of a topic that only a log handler consumes. It is not decoded.
    Raw,
    /// A message of a type that this service does not handle. It still has its sequence.
    Unhandled(Box<Envelope>),
    /// A domain event that cannot be decoded, but whose key and sequence can be read: its key is parked.
    Unreadable(KeyPosition, String),
    /// A record that can never be applied.
    Dead {
        reason: DeadLetterReason,
        detail: String,
        envelope: Option<Box<Envelope>>,
    },
}

impl Arrival {
    /// Returns the envelope, or `None` if it could not be read.
    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match &self.content {
            Content::Message(message) => Some(message.envelope()),
            Content::Unhandled(envelope) => Some(envelope),
            Content::Raw | Content::Unreadable(..) => None,
            Content::Dead { envelope, .. } => envelope.as_deref(),
        }
    }

    /// Returns the position in the order of its key, or `None` if the record has no sequence.
    pub(crate) fn key_position(&self) -> Option<KeyPosition> {
        let envelope = match &self.content {
            Content::Message(message) => message.envelope(),
            Content::Unhandled(envelope) => envelope,
            Content::Unreadable(position, _) => return Some(*position),
            Content::Raw | Content::Dead { .. } => return None,
        };
        Some(KeyPosition {
            key: envelope.key,
            sequence: envelope.sequence?,
            id: envelope.id,
        })
    }

    /// Returns the message, or `None` if no handler can be called with it.
    pub(crate) fn message(&self) -> Option<&dyn AnyMessage> {
        match &self.content {
            Content::Message(message) => Some(message.as_ref()),
            _ => None,
        }
    }
}

/// Returns the message as the sequence check needs it, or `None` if the record has no sequence.
pub(crate) fn sequenced<T>(arrival: &Arrival, item: T, known: &KnownFailures) -> Option<Sequenced<T>> {
    let poison = match &arrival.content {
        Content::Raw | Content::Dead { .. } => return None,
        Content::Unreadable(..) => true,
        Content::Unhandled(_) => false,
        Content::Message(message) => known.get(&message.envelope().id).is_some(),
    };
    let position = arrival.key_position()?;
    Some(Sequenced {
        key: position.key,
        sequence: position.sequence,
        id: position.id,
        poison,
        item,
    })
}

/// Returns the error that a message is parked with; empty if it only waits for an earlier message.
pub(crate) fn error_of(arrival: &Arrival, id: Uuid, known: &KnownFailures) -> String {
    match (&arrival.content, known.get(&id)) {
        (Content::Unreadable(_, error), _) | (_, Some(KnownFailure::Poison(error))) => storable_text(error),
        (_, Some(KnownFailure::Defer(Rejection { code, .. }) | KnownFailure::Reject(Rejection { code, .. }))) => {
            format!("only commands can be rejected or deferred ({code})")
        }
        (_, None) => String::new(),
    }
}

/// Returns the distinct keys of the records, sorted.
pub(crate) fn keys<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> BTreeSet<Uuid> {
    arrivals
        .filter_map(|arrival| arrival.key_position().map(|position| position.key))
        .collect()
}

/// A record whose schema is not known yet.
pub(crate) struct MissingSchema {
    /// The registry id of the schema.
    pub(crate) id: i32,
    /// The record as it is without the schema.
    pub(crate) arrival: Arrival,
}

/// Decodes a record with the schemas that are known already.
///
/// # Errors
/// Returns [`MissingSchema`] if the schema must be fetched first.
pub(crate) fn decode<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    record: Record,
) -> Result<Arrival, Box<MissingSchema>> {
    // A log handler needs the schema too, even of a record that has no readable envelope.
    let missing_for_log = subscription.log.as_ref().and_then(|_| missing_schema(runtime, &record));
    match (decode_message(runtime, subscription, record), missing_for_log) {
        (Ok(arrival), Some(id)) => Err(Box::new(MissingSchema { id, arrival })),
        (decoded, _) => decoded,
    }
}

/// Returns the id of the record's schema if it is not known.
fn missing_schema<L: Ledger>(runtime: &Runtime<L>, record: &Record) -> Option<i32> {
    match runtime.codec().record_name(record.value.as_deref()?) {
        Err(codec::Error::UnknownSchema(id)) => Some(id),
        _ => None,
    }
}

fn decode_message<L: Ledger>(
    runtime: &Runtime<L>,
    subscription: &Subscription<L>,
    record: Record,
) -> Result<Arrival, Box<MissingSchema>> {
    let kind = subscription.kind();
    let Some(handler_type) = &subscription.handler else {
        let content = Content::Raw;
        return Ok(Arrival { record, content });
    };
    let dead = |reason, detail: String, envelope: Option<Envelope>| Content::Dead {
        reason,
        detail,
        envelope: envelope.map(Box::new),
    };
    let envelope = match Envelope::of(&record) {
        Ok(envelope) => envelope,
        Err(error) => {
            let content = match (kind, KeyPosition::of(&record), &error) {
                (Kind::DomainEvents, Some(position), _) => Content::Unreadable(position, error.to_string()),
                (.., EnvelopeError::WrongKey) => dead(DeadLetterReason::WrongKey, error.to_string(), None),
                (.., EnvelopeError::Missing(_) | EnvelopeError::Unreadable(_)) => {
                    dead(DeadLetterReason::MalformedEnvelope, error.to_string(), None)
                }
            };
            return Ok(Arrival { record, content });
        }
    };
    let has_sequence = matches!(kind, Kind::DomainEvents | Kind::State);
    if has_sequence && envelope.sequence.is_none_or(|sequence| sequence < 1) {
        let detail = "the header ce_sequence is missing or not positive".to_owned();
        let content = dead(DeadLetterReason::MalformedEnvelope, detail, Some(envelope));
        return Ok(Arrival { record, content });
    }
    let mut missing = None;
    let content = match handler_type.decode(runtime.codec(), envelope, &record) {
        Decoded::Message(message) => Content::Message(message),
        Decoded::UnknownType(envelope) if kind == Kind::Commands => {
            let detail = format!("{} is not a command of this topic", envelope.type_name);
            dead(DeadLetterReason::UnknownType, detail, Some(envelope))
        }
        Decoded::UnknownType(envelope) => Content::Unhandled(Box::new(envelope)),
        Decoded::Failed(envelope, error) => {
            if let codec::Error::UnknownSchema(id) = &error {
                missing = Some(*id);
            }
            let detail = chassis::error_chain(&error);
            match (kind, envelope.sequence) {
                (Kind::DomainEvents, Some(sequence)) => {
                    let (key, id) = (envelope.key, envelope.id);
                    Content::Unreadable(KeyPosition { key, sequence, id }, detail)
                }
                _ => dead(DeadLetterReason::Undecodable, detail, Some(envelope)),
            }
        }
    };
    let arrival = Arrival { record, content };
    match missing {
        Some(id) => Err(Box::new(MissingSchema { id, arrival })),
        None => Ok(arrival),
    }
}

/// Returns an error's text in a form that every store accepts: at most 2,000 characters, without NUL.
pub(crate) fn storable_text(error: &str) -> String {
    const MAX_CHARS: usize = 2_000;
    error.chars().filter(|c| *c != '\0').take(MAX_CHARS).collect()
}
