//! Ops commands on the journal of an aggregate.

use std::collections::VecDeque;
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
use crate::history::{self, Entry, Snapshots, Until};

/// Maximum number of versions that one command reads or publishes again.
const MAX_VERSIONS: i64 = 1_000;
/// Time limit of a verification, because other ops commands and the transaction wait for it.
const VERIFICATION_LIMIT: Duration = Duration::from_secs(20);

/// Handles the ops commands on an aggregate's journal: `Republish`, `ReadHistory`, `ReadAggregate`, `VerifySnapshots`, and
/// the journal's part of `WhereIs`. Register it with
/// [`Subscriptions::handle_ops`](messaging::Subscriptions::handle_ops).
pub struct Journal<A>(PhantomData<fn() -> A>);

impl<A: Aggregate> Journal<A> {
    #[expect(
        clippy::new_without_default,
        reason = "the caller names the aggregate where it registers the handler"
    )]
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
    /// Publishes the same bytes again under the same id, number and time. A consumer that has applied them drops them, and
    /// one that lacks them closes its gap.
    async fn republish(
        &self,
        unit: &mut Unit<Postgres>,
        received: &Received<OpsCommand>,
        command: &Republish,
    ) -> Result<OpsOutcome, Failure> {
        let Some(version) = history::version_of::<A>(unit.tx(), command.aggregate_id).await? else {
            return Ok(unknown());
        };
        let to = command.to_version.unwrap_or(version);
        if command.from_version < 1 || to > version || command.from_version > to {
            return Ok(rejected(
                "versions-invalid",
                format!("valid versions are 1 to {version}"),
            ));
        }
        let last = to.min(command.from_version.saturating_add(MAX_VERSIONS - 1));
        let count = last - command.from_version + 1;
        let entries = history::read(unit.tx(), command.aggregate_id, command.from_version - 1, count).await?;
        for entry in entries {
            let message = self.original_message(unit, received, entry)?;
            unit.append(message);
        }
        let next = Some(last + 1).filter(|next| *next <= to);
        Ok(OpsOutcome::Done(json!({ "published": count, "next_version": next })))
    }

    fn original_message(
        &self,
        unit: &Unit<Postgres>,
        received: &Received<OpsCommand>,
        entry: Entry,
    ) -> Result<OutboxMessage, Failure> {
        let broken = |error: codec::Error| StoreError::new(StoreErrorKind::Broken, error);
        let schema = codec::schema_id(&entry.payload).map_err(broken)?;
        let (trace_parent, trace_state) = received.cause().trace_context();
        let envelope = Envelope {
            id: entry.message_id,
            source: unit.publisher().source().to_owned(),
            type_name: entry.type_name,
            time: entry.published_at,
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
        let limit = i64::from(command.limit).clamp(1, MAX_VERSIONS);
        let entries = history::read(unit.tx(), command.aggregate_id, command.after_version, limit).await?;
        let last = entries.last().map_or(version, |entry| entry.version);
        let codec = unit.publisher().codec();
        let events = entries.iter().map(|entry| {
            let mut event = summary(entry);
            // A domain event contains no personal data. If one ever did, this would not show it.
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
            (Some(_), None) => {
                return Ok(rejected(
                    "versions-invalid",
                    format!("valid versions are 1 to {newest}"),
                ));
            }
            (None, Some(time)) => Until::Time(time),
            (None, None) => Until::Newest,
            (Some(_), Some(_)) => {
                return Ok(rejected(
                    "versions-invalid",
                    "give either a version or a time, not both",
                ));
            }
        };
        let codec = unit.publisher().codec().clone();
        let (aggregate, published_at) = history::replay::<A>(unit.tx(), &codec, command.aggregate_id, until).await?;
        let Some(published_at) = published_at else {
            return Ok(rejected("versions-invalid", "the aggregate did not exist at that time"));
        };
        let state = serde_json::to_value(&aggregate.state).map_err(Failure::poison)?;
        Ok(OpsOutcome::Done(json!({
            "aggregate": A::NAME,
            "version": aggregate.version,
            "newest_version": newest,
            "at": published_at.to_string(),
            "state": state,
        })))
    }

    /// Compares snapshots with the state that the journal leads to, until the time limit.
    async fn verify(&self, unit: &mut Unit<Postgres>) -> Result<OpsOutcome, Failure> {
        let codec = unit.publisher().codec().clone();
        let begin = Instant::now();
        let mut snapshots = Snapshots::begin::<A>(unit.tx()).await?;
        let (mut checked, mut unreadable) = (0, 0);
        let mut mismatches = Vec::new();
        let mut page = VecDeque::new();
        while begin.elapsed() <= VERIFICATION_LIMIT {
            if page.is_empty() {
                page.extend(snapshots.next::<A>(unit.tx()).await?);
            }
            let Some((stream, version, state)) = page.pop_front() else {
                break;
            };
            checked += 1;
            // It has the format of another version of the service, and is rebuilt from the journal when it is needed.
            if serde_json::from_str::<A>(&state).is_err() {
                unreadable += 1;
                continue;
            }
            let (replayed, _) = history::replay::<A>(unit.tx(), &codec, stream, Until::Version(version)).await?;
            let replayed_state = serde_json::to_value(&replayed.state).map_err(Failure::poison)?;
            let stored: Value = serde_json::from_str(&state).map_err(Failure::poison)?;
            if replayed.version != version || replayed_state != stored {
                tracing::error!(%stream, version, aggregate = A::NAME, "a snapshot differs from the state that its journal leads to");
                mismatches.push(json!({ "aggregate_id": stream, "version": version }));
            }
        }
        Ok(OpsOutcome::Done(json!({
            // Snapshots may have been taken meanwhile.
            "snapshots": snapshots.total.max(checked),
            "checked": checked,
            "unreadable": unreadable,
            "mismatches": mismatches,
        })))
    }

    async fn where_is(&self, unit: &mut Unit<Postgres>, id: Uuid) -> Result<OpsOutcome, Failure> {
        let entries = history::find_by_message(unit.tx(), id).await?;
        let events: Vec<_> = entries.iter().map(summary).collect();
        Ok(OpsOutcome::Done(json!({ "journal": events })))
    }
}

fn summary(entry: &Entry) -> Value {
    json!({
        "aggregate_id": entry.stream,
        "version": entry.version,
        "type": entry.type_name,
        "message_id": entry.message_id,
        "correlation_id": entry.correlation_id,
        "causation_id": entry.causation_id,
        "actor": entry.actor,
        "said_at": entry.published_at.to_string(),
    })
}

fn rejected(code: &'static str, detail: impl Into<String>) -> OpsOutcome {
    OpsOutcome::Rejected(Rejection::new(code, detail))
}

fn unknown() -> OpsOutcome {
    rejected("aggregate-unknown", "this service has no aggregate with this id")
}
