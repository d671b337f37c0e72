//! Decodes a record: into a message, into one that this service does not handle, or into one that cannot be read.

use std::collections::HashSet;

use contracts::aggregate::Rejection;
use contracts::dead_letters::DeadLetterReason;
use contracts::{Kind, Message};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Stopped;
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::sequence::Sequenced;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::envelope::{Envelope, EnvelopeError, KeyPosition};
use crate::wire::message::Received;
use crate::wire::record::Record;

/// A record with its decoded content.
pub(crate) struct Arrival<M> {
    pub(crate) record: Record,
    pub(crate) content: Content<M>,
}

pub(crate) enum Content<M> {
    Message(Received<M>),
    /// A message of a type that this service does not handle. It still has its sequence.
    Unhandled(Envelope),
    /// A domain event that cannot be decoded, but whose key and sequence can be read: its key is parked.
    Unreadable(KeyPosition, String),
    /// A record that can never be applied.
    Dead {
        reason: DeadLetterReason,
        detail: String,
        envelope: Option<Envelope>,
    },
}

impl<M> Arrival<M> {
    /// Returns the envelope, or `None` if it could not be read.
    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match &self.content {
            Content::Message(message) => Some(&message.envelope),
            Content::Unhandled(envelope) => Some(envelope),
            Content::Unreadable(..) => None,
            Content::Dead { envelope, .. } => envelope.as_ref(),
        }
    }

    /// Returns the position in the order of its key, or `None` if the record has no sequence.
    pub(crate) fn key_position(&self) -> Option<KeyPosition> {
        let envelope = match &self.content {
            Content::Message(message) => &message.envelope,
            Content::Unhandled(envelope) => envelope,
            Content::Unreadable(position, _) => return Some(*position),
            Content::Dead { .. } => return None,
        };
        Some(KeyPosition {
            key: envelope.key,
            sequence: envelope.sequence?,
            id: envelope.id,
        })
    }

    /// Returns the message, or `None` if no handler can be called with it.
    pub(crate) fn message(&self) -> Option<&Received<M>> {
        match &self.content {
            Content::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// Returns the message as the sequence check needs it, or `None` if the record has no sequence.
pub(crate) fn sequenced<M>(item: &Arrival<M>, index: usize, known: &KnownFailures) -> Option<Sequenced<usize>> {
    let poison = match &item.content {
        Content::Dead { .. } => return None,
        Content::Unreadable(..) => true,
        Content::Unhandled(_) => false,
        Content::Message(message) => known.get(&message.envelope.id).is_some(),
    };
    let position = item.key_position()?;
    Some(Sequenced {
        key: position.key,
        sequence: position.sequence,
        id: position.id,
        poison,
        item: index,
    })
}

/// Returns the error that a message is parked with; empty if it only waits for an earlier message.
pub(crate) fn error_of<M>(item: &Arrival<M>, id: Uuid, known: &KnownFailures) -> String {
    match (&item.content, known.get(&id)) {
        (Content::Unreadable(_, error), _) | (_, Some(KnownFailure::Poison(error))) => storable_text(error),
        (_, Some(KnownFailure::Defer(Rejection { code, .. }) | KnownFailure::Reject(Rejection { code, .. }))) => {
            format!("only commands can be rejected or deferred ({code})")
        }
        (_, None) => String::new(),
    }
}

/// Returns the distinct keys of the records, sorted.
pub(crate) fn keys<M>(items: &[Arrival<M>]) -> Vec<Uuid> {
    let mut keys: Vec<_> = items
        .iter()
        .filter_map(|item| item.key_position().map(|position| position.key))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    keys.sort_unstable();
    keys
}

/// Decodes a record. An unknown schema is fetched; while the registry is unreachable, the partition waits.
pub(crate) async fn decode<L: Ledger, M: Message>(
    kind: Kind,
    runtime: &Runtime<L>,
    mut record: Record,
    stop: &CancellationToken,
) -> Result<Arrival<M>, Stopped> {
    loop {
        match decode_known(kind, runtime, record) {
            Ok(arrival) => return Ok(arrival),
            Err((arrival, schema)) => {
                if !runtime.fetch_schema(schema, &arrival.record, stop).await? {
                    return Ok(arrival);
                }
                record = arrival.record;
            }
        }
    }
}

/// Decodes a record with the schemas that are known already.
///
/// # Errors
/// Returns the arrival, as it is without the schema, and the registry id of the schema if that schema is unknown.
#[expect(
    clippy::result_large_err,
    reason = "the caller continues with the arrival in both cases"
)]
pub(crate) fn decode_known<L: Ledger, M: Message>(
    kind: Kind,
    runtime: &Runtime<L>,
    record: Record,
) -> Result<Arrival<M>, (Arrival<M>, i32)> {
    let dead = |record, reason, detail: String, envelope| Arrival {
        record,
        content: Content::Dead {
            reason,
            detail,
            envelope,
        },
    };
    let envelope = match Envelope::of(&record) {
        Ok(envelope) => envelope,
        Err(error) => {
            if let (Kind::DomainEvents, Some(position)) = (kind, KeyPosition::of(&record)) {
                let content = Content::Unreadable(position, error.to_string());
                return Ok(Arrival { record, content });
            }
            let reason = match error {
                EnvelopeError::WrongKey => DeadLetterReason::WrongKey,
                EnvelopeError::Missing(_) | EnvelopeError::Unreadable(_) => DeadLetterReason::MalformedEnvelope,
            };
            return Ok(dead(record, reason, error.to_string(), None));
        }
    };
    let has_sequence = matches!(kind, Kind::DomainEvents | Kind::State);
    if has_sequence && envelope.sequence.is_none_or(|sequence| sequence < 1) {
        let detail = "the header ce_sequence is missing or not positive".to_owned();
        return Ok(dead(
            record,
            DeadLetterReason::MalformedEnvelope,
            detail,
            Some(envelope),
        ));
    }
    let body = match &record.value {
        Some(value) => M::decode(runtime.codec(), &envelope.type_name, value),
        None if kind == Kind::State => Ok(M::tombstone()),
        None => Err(contracts::codec::Error::NotFramed("the record has no value")),
    };
    match body {
        Ok(Some(body)) => {
            let message = Received::new(envelope, body, record.partition.clone(), record.offset);
            Ok(Arrival {
                record,
                content: Content::Message(message),
            })
        }
        Ok(None) if kind == Kind::Commands => {
            let detail = format!("{} is not a command of this topic", envelope.type_name);
            Ok(dead(record, DeadLetterReason::UnknownType, detail, Some(envelope)))
        }
        Ok(None) => Ok(Arrival {
            record,
            content: Content::Unhandled(envelope),
        }),
        Err(error) => {
            let missing = match &error {
                contracts::codec::Error::UnknownSchema(id) => Some(*id),
                _ => None,
            };
            let detail = chassis::error_chain(&error);
            let arrival = match (kind, envelope.sequence) {
                (Kind::DomainEvents, Some(sequence)) => {
                    let (key, id) = (envelope.key, envelope.id);
                    let position = KeyPosition { key, sequence, id };
                    let content = Content::Unreadable(position, detail);
                    Arrival { record, content }
                }
                _ => dead(record, DeadLetterReason::Undecodable, detail, Some(envelope)),
            };
            match missing {
                Some(id) => Err((arrival, id)),
                None => Ok(arrival),
            }
        }
    }
}

/// Returns an error's text in a form that every store accepts: at most 2,000 characters, without NUL.
pub(crate) fn storable_text(error: &str) -> String {
    const MAX_CHARS: usize = 2_000;
    error.chars().filter(|c| *c != '\0').take(MAX_CHARS).collect()
}
