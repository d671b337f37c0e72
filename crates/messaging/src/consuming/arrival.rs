//! What could be made of a record: a message, one that is not handled here, one that can't be read.

use std::collections::HashSet;

use contracts::aggregate::Rejection;
use contracts::dead_letters::DeadLetterReason;
use contracts::{Kind, Message};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Stopped;
use crate::consuming::known_failures::{KnownFailure, KnownFailures};
use crate::consuming::sequence::Numbered;
use crate::ledger::Ledger;
use crate::runtime::Runtime;
use crate::wire::envelope::{Envelope, EnvelopeError, Place};
use crate::wire::message::Received;
use crate::wire::record::Record;

/// A record, and what could be made of it.
pub(crate) struct Arrival<M> {
    pub(crate) record: Record,
    pub(crate) content: Content<M>,
}

pub(crate) enum Content<M> {
    Message(Received<M>),
    /// Of a type that this service does not handle; it still has its number.
    Unhandled(Envelope),
    /// A domain event that can't be read, but whose place can: it holds its key back.
    Unreadable(Place, String),
    /// Nobody will ever apply it.
    Dead {
        reason: DeadLetterReason,
        detail: String,
        envelope: Option<Envelope>,
    },
}

impl<M> Arrival<M> {
    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match &self.content {
            Content::Message(message) => Some(&message.envelope),
            Content::Unhandled(envelope) => Some(envelope),
            Content::Unreadable(..) => None,
            Content::Dead { envelope, .. } => envelope.as_ref(),
        }
    }

    /// Where it stands in its key's order; `None` for what has no place there.
    pub(crate) fn place(&self) -> Option<Place> {
        let envelope = match &self.content {
            Content::Message(message) => &message.envelope,
            Content::Unhandled(envelope) => envelope,
            Content::Unreadable(place, _) => return Some(*place),
            Content::Dead { .. } => return None,
        };
        Some(Place {
            key: envelope.key,
            sequence: envelope.sequence?,
            id: envelope.id,
        })
    }

    pub(crate) fn message(&self) -> Option<&Received<M>> {
        match &self.content {
            Content::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// A message's place in its key's order; `None` for what has none.
pub(crate) fn numbered<M>(item: &Arrival<M>, index: usize, known: &KnownFailures) -> Option<Numbered<usize>> {
    let poison = match &item.content {
        Content::Dead { .. } => return None,
        Content::Unreadable(..) => true,
        Content::Unhandled(_) => false,
        Content::Message(message) => known.get(&message.envelope.id).is_some(),
    };
    let place = item.place()?;
    Some(Numbered {
        key: place.key,
        sequence: place.sequence,
        id: place.id,
        poison,
        item: index,
    })
}

/// What went wrong with a message; empty for one that merely waits.
pub(crate) fn error_of<M>(item: &Arrival<M>, id: Uuid, known: &KnownFailures) -> String {
    match (&item.content, known.get(&id)) {
        (Content::Unreadable(_, error), _) | (_, Some(KnownFailure::Poison(error))) => text(error),
        (_, Some(KnownFailure::Defer(Rejection { code, .. }) | KnownFailure::Reject(Rejection { code, .. }))) => {
            format!("only commands can be rejected or deferred ({code})")
        }
        (_, None) => String::new(),
    }
}

pub(crate) fn keys<M>(items: &[Arrival<M>]) -> Vec<Uuid> {
    let mut keys: Vec<_> = items
        .iter()
        .filter_map(|item| item.place().map(|place| place.key))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    keys.sort_unstable();
    keys
}

/// Decodes a record. A schema that is not known is fetched; while the registry is down, the partition waits.
pub(crate) async fn decode<L: Ledger, M: Message>(
    kind: Kind,
    runtime: &Runtime<L>,
    mut record: Record,
    stop: &CancellationToken,
) -> Result<Arrival<M>, Stopped> {
    loop {
        match decode_known(kind, runtime, record) {
            Ok(arrival) => return Ok(arrival),
            Err((arrival, schema)) => match runtime.learn(schema, &arrival.record, stop).await? {
                true => record = arrival.record,
                false => return Ok(arrival),
            },
        }
    }
}

/// Decodes with the schemas at hand; an error carries the id of the one that is missing.
#[expect(clippy::result_large_err, reason = "the arrival goes on either way")]
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
            if let (Kind::DomainEvents, Some(place)) = (kind, Place::of(&record)) {
                let content = Content::Unreadable(place, error.to_string());
                return Ok(Arrival { record, content });
            }
            let reason = match error {
                EnvelopeError::WrongKey => DeadLetterReason::WrongKey,
                EnvelopeError::Missing(_) | EnvelopeError::Unreadable(_) => DeadLetterReason::MalformedEnvelope,
            };
            return Ok(dead(record, reason, error.to_string(), None));
        }
    };
    let numbered = matches!(kind, Kind::DomainEvents | Kind::State);
    if numbered && envelope.sequence.is_none_or(|sequence| sequence < 1) {
        let detail = "the header ce_sequence is missing".to_owned();
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
        None => Err(contracts::codec::Error::NotFramed("there is no value")),
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
            let detail = format!("{} is no command of this topic", envelope.type_name);
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
                    let place = Place { key, sequence, id };
                    let content = Content::Unreadable(place, detail);
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

/// An error's text, as every store can keep it: short, and without NUL.
pub(crate) fn text(error: &str) -> String {
    const LONGEST: usize = 2_000;
    error.chars().filter(|c| *c != '\0').take(LONGEST).collect()
}
