//! Operations on the journal of an aggregate.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contracts::aggregate::Rejection;
use contracts::codec;
use contracts::ops::{OpsCommand, ReadAggregate, ReadHistory, Republish};
use contracts::{Aggregate, Message};
use messaging::ledger::{OutboxMessage, StoreError, StoreErrorKind};
use messaging::{Envelope, Failure, OpsHandler, OpsOutcome, Received, Unit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Postgres;
use crate::history::{self, Entry, Until};

/// Domain events of one answer, at most.
const MOST: i64 = 1_000;
/// Other operations wait meanwhile, and so does the transaction.
const TIME_TO_VERIFY: Duration = Duration::from_secs(20);

/// What operators may ask of an aggregate's journal: `Republish`, `ReadHistory`, `ReadAggregate`, `VerifySnapshots`,
/// and where a message is. Added with [`Subscriptions::handle_ops`](messaging::Subscriptions::handle_ops).
pub struct Journal<A>(PhantomData<fn() -> A>);

impl<A: Aggregate> Journal<A> {
    #[expect(clippy::new_without_default, reason = "the type is said where it is registered")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A: Aggregate> OpsHandler<Postgres> for Journal<A> {
    async fn handle(&self, unit: &mut Unit<Postgres>, command: &Received<OpsCommand>) -> Result<OpsOutcome, Failure> {
        match &command.body {
            OpsCommand::Republish(republish) => self.republish(unit, command, republish).await,
            OpsCommand::ReadHistory(read) => self.history(unit, read).await,
            OpsCommand::ReadAggregate(read) => self.aggregate(unit, read).await,
            OpsCommand::VerifySnapshots(_) => self.verify(unit).await,
            OpsCommand::WhereIs(question) => self.where_is(unit, question.message_id).await,
            _ => Ok(OpsOutcome::Unhandled),
        }
    }
}

impl<A: Aggregate> Journal<A> {
    /// The same bytes under the same id, number and time: who has them drops them, who lacks them closes the gap.
    async fn republish(
        &self,
        unit: &mut Unit<Postgres>,
        operation: &Received<OpsCommand>,
        command: &Republish,
    ) -> Result<OpsOutcome, Failure> {
        let Some(version) = history::version_of::<A>(unit.tx(), command.aggregate_id).await? else {
            return Ok(unknown());
        };
        let to = command.to_version.unwrap_or(version);
        if command.from_version < 1 || to > version || command.from_version > to {
            return Ok(no("versions-invalid", format!("there are versions 1 to {version}")));
        }
        let last = to.min(command.from_version.saturating_add(MOST - 1));
        let count = last - command.from_version + 1;
        let entries = history::read(unit.tx(), command.aggregate_id, command.from_version - 1, count).await?;
        for entry in entries {
            let message = self.as_it_was_said(unit, operation, entry)?;
            unit.append(message);
        }
        let next = Some(last + 1).filter(|next| *next <= to);
        Ok(OpsOutcome::Done(json!({ "published": count, "next_version": next })))
    }

    fn as_it_was_said(
        &self,
        unit: &Unit<Postgres>,
        operation: &Received<OpsCommand>,
        entry: Entry,
    ) -> Result<OutboxMessage, Failure> {
        let broken = |error: codec::Error| StoreError::new(StoreErrorKind::Broken, error);
        let schema = codec::schema_id(&entry.payload).map_err(broken)?;
        let (trace_parent, trace_state) = operation.cause().trace_context();
        let envelope = Envelope {
            id: entry.message_id,
            source: unit.publisher().source().to_owned(),
            type_name: entry.type_name,
            time: entry.said_at,
            key: entry.stream,
            sequence: Some(entry.version),
            correlation_id: entry.correlation_id,
            causation_id: entry.causation_id,
            actor: entry.actor.and_then(|actor| actor.parse().ok()),
            attempt: 0,
            due_at: None,
            expected_version: None,
            reply_to: None,
            trace_parent,
            trace_state,
        };
        Ok(OutboxMessage {
            topic: unit.publisher().topic_name(A::DomainEvent::TOPIC),
            key: entry.stream,
            headers: envelope.to_headers(Some(schema)),
            value: Some(Bytes::from(entry.payload)),
            due_at: None,
        })
    }

    async fn history(&self, unit: &mut Unit<Postgres>, command: &ReadHistory) -> Result<OpsOutcome, Failure> {
        let Some(version) = history::version_of::<A>(unit.tx(), command.aggregate_id).await? else {
            return Ok(unknown());
        };
        let limit = i64::from(command.limit).clamp(1, MOST);
        let entries = history::read(unit.tx(), command.aggregate_id, command.after_version, limit).await?;
        let last = entries.last().map_or(version, |entry| entry.version);
        let codec = unit.publisher().codec();
        let events = entries.iter().map(|entry| {
            let mut event = told(entry);
            // Domain events hold nothing personal; if one ever did, it would not be shown.
            let content = codec.to_json_without_personal(&entry.payload);
            event["content"] = content.map_or(Value::Null, |(_, content)| content);
            event
        });
        let events: Vec<_> = events.collect();
        let next = Some(last).filter(|last| *last < version);
        Ok(OpsOutcome::Done(
            json!({ "version": version, "events": events, "after_version": next }),
        ))
    }

    async fn aggregate(&self, unit: &mut Unit<Postgres>, command: &ReadAggregate) -> Result<OpsOutcome, Failure> {
        let Some(newest) = history::version_of::<A>(unit.tx(), command.aggregate_id).await? else {
            return Ok(unknown());
        };
        let until = match (command.version, command.at) {
            (Some(version), None) if (1..=newest).contains(&version) => Until::Version(version),
            (Some(_), None) => return Ok(no("versions-invalid", format!("there are versions 1 to {newest}"))),
            (None, Some(time)) => Until::Time(time),
            (None, None) => Until::Newest,
            (Some(_), Some(_)) => return Ok(no("versions-invalid", "either a version or a time, not both")),
        };
        let codec = unit.publisher().codec().clone();
        let (aggregate, said_at) = history::replay::<A>(unit.tx(), &codec, command.aggregate_id, until).await?;
        let Some(said_at) = said_at else {
            return Ok(no("versions-invalid", "it did not exist at that time"));
        };
        let state = serde_json::to_value(&aggregate.state).map_err(Failure::poison)?;
        Ok(OpsOutcome::Done(json!({
            "aggregate": A::NAME,
            "version": aggregate.version,
            "newest_version": newest,
            "at": said_at.to_string(),
            "state": state,
        })))
    }

    /// A snapshot is a shortcut, and must lead to where the whole way leads.
    async fn verify(&self, unit: &mut Unit<Postgres>) -> Result<OpsOutcome, Failure> {
        let codec = unit.publisher().codec().clone();
        let snapshots = history::snapshots::<A>(unit.tx()).await?;
        let begin = Instant::now();
        let (total, mut checked, mut unreadable) = (snapshots.len(), 0, 0);
        let mut mismatches = Vec::new();
        for (stream, version, state) in snapshots {
            if begin.elapsed() > TIME_TO_VERIFY {
                break;
            }
            checked += 1;
            // Of an older shape: nobody uses it, the journal has everything.
            if serde_json::from_str::<A>(&state).is_err() {
                unreadable += 1;
                continue;
            }
            let (replayed, _) = history::replay::<A>(unit.tx(), &codec, stream, Until::Version(version)).await?;
            let replayed_state = serde_json::to_value(&replayed.state).map_err(Failure::poison)?;
            let stored: Value = serde_json::from_str(&state).map_err(Failure::poison)?;
            if replayed.version != version || replayed_state != stored {
                tracing::error!(%stream, version, aggregate = A::NAME, "a snapshot differs from its journal");
                mismatches.push(json!({ "aggregate_id": stream, "version": version }));
            }
        }
        Ok(OpsOutcome::Done(json!({
            "snapshots": total,
            "checked": checked,
            "unreadable": unreadable,
            "mismatches": mismatches,
        })))
    }

    async fn where_is(&self, unit: &mut Unit<Postgres>, id: Uuid) -> Result<OpsOutcome, Failure> {
        let entries = history::of_message(unit.tx(), id).await?;
        let events: Vec<_> = entries.iter().map(told).collect();
        Ok(OpsOutcome::Done(json!({ "journal": events })))
    }
}

fn told(entry: &Entry) -> Value {
    json!({
        "aggregate_id": entry.stream,
        "version": entry.version,
        "type": entry.type_name,
        "message_id": entry.message_id,
        "correlation_id": entry.correlation_id,
        "causation_id": entry.causation_id,
        "actor": entry.actor,
        "said_at": entry.said_at.to_string(),
    })
}

fn no(code: &'static str, detail: impl Into<String>) -> OpsOutcome {
    OpsOutcome::Rejected(Rejection::new(code, detail))
}

fn unknown() -> OpsOutcome {
    no("aggregate-unknown", "there is no such aggregate at this service")
}
