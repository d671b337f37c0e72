//! Mails to send: a document each, written in the transaction of the message that caused it, and worked
//! off by the [`Mailer`](crate::Mailer). No personal data in it: the address is read when it is sent.

use std::sync::Arc;
use std::time::Duration;

use contracts::{NotificationKind, Timestamp};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{Cause, Received, Unit};
use mongo::{Mongo, Update, from_bson, store_error, to_bson};
use mongodb::bson::{self, Bson, Document, doc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::copies::time;

pub const MAILS: &str = "mails";

/// Version 5 of RFC 9562: the same cause and recipient give the same mail, whatever is delivered again.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2f6e_93d5_4f0a_8a57_0c1b_64d9_b7e3);

/// Which queue a mail waits in: a storm of sign-ups must not delay confirmations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Priority,
    Bulk,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Priority, Self::Bulk];

    pub fn of(kind: NotificationKind) -> Self {
        match kind {
            NotificationKind::Welcome => Self::Bulk,
            NotificationKind::SeatConfirmed
            | NotificationKind::SeatWaitlisted
            | NotificationKind::SeatPromoted
            | NotificationKind::RegistrationCancelled
            | NotificationKind::EventCancelled
            | NotificationKind::Unknown => Self::Priority,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Bulk => "bulk",
        }
    }
}

/// Wakes the mailer of this process when a handler's transaction brought it work.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    priority: Arc<Notify>,
    bulk: Arc<Notify>,
}

impl Lanes {
    pub(crate) fn get(&self, lane: Lane) -> &Arc<Notify> {
        match lane {
            Lane::Priority => &self.priority,
            Lane::Bulk => &self.bulk,
        }
    }
}

/// A mail that was decided on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mail {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub(crate) kind: NotificationKind,
    lane: Lane,
    user: bson::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<bson::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<bson::Uuid>,
    cause: StoredCause,
    pub(crate) state: State,
    pub(crate) created_at: bson::DateTime,
    /// When it is to be tried; while it is claimed, when the claim ends.
    next_attempt_at: bson::DateTime,
    /// How often a mail server refused it for the time being.
    #[serde(default)]
    pub(crate) refusals: u32,
    /// How often something was missing.
    #[serde(default)]
    pub(crate) waits: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_at: Option<bson::DateTime>,
    /// Names the claim: another one has taken over where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<bson::Uuid>,
}

/// The chain that the mail belongs to, and the span that it continues.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredCause {
    id: bson::Uuid,
    correlation_id: bson::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Sent,
    Failed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

impl Mail {
    /// The mail of `kind` to `user` that a message leads to.
    pub(crate) fn because_of<M>(message: &Received<M>, kind: NotificationKind, user: Uuid) -> Self {
        let cause = message.cause();
        let (trace_parent, trace_state) = cause.trace_context();
        // Of a clock that is ahead, nothing more than an order is wanted.
        let created_at = time(message.envelope.time.min(Timestamp::now()));
        Self {
            id: to_bson(id_of(message.envelope.id, user)),
            kind,
            lane: Lane::of(kind),
            user: to_bson(user),
            event: None,
            registration: None,
            cause: StoredCause {
                id: to_bson(message.envelope.id),
                correlation_id: to_bson(cause.correlation_id),
                actor: cause.actor.map(|actor| actor.to_string()),
                trace_parent,
                trace_state,
            },
            state: State::Pending,
            created_at,
            next_attempt_at: created_at,
            refusals: 0,
            waits: 0,
            claimed_at: None,
            claim: None,
        }
    }

    pub(crate) fn about(mut self, event: Uuid, registration: Uuid) -> Self {
        self.event = Some(to_bson(event));
        self.registration = Some(to_bson(registration));
        self
    }

    pub(crate) fn id(&self) -> Uuid {
        from_bson(self.id)
    }

    pub(crate) fn user(&self) -> Uuid {
        from_bson(self.user)
    }

    /// For metrics and spans.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            NotificationKind::Welcome => "welcome",
            NotificationKind::SeatConfirmed => "seat_confirmed",
            NotificationKind::SeatWaitlisted => "seat_waitlisted",
            NotificationKind::SeatPromoted => "seat_promoted",
            NotificationKind::RegistrationCancelled => "registration_cancelled",
            NotificationKind::EventCancelled => "event_cancelled",
            NotificationKind::Unknown => "unknown",
        }
    }

    /// The event and the registration that it tells of.
    pub(crate) fn registration(&self) -> Option<(Uuid, Uuid)> {
        Some((from_bson(self.event?), from_bson(self.registration?)))
    }

    pub(crate) fn cause_id(&self) -> Uuid {
        from_bson(self.cause.id)
    }

    /// The span that the mail's own continues.
    pub(crate) fn trace(&self) -> opentelemetry::Context {
        messaging::remote_context(self.cause.trace_parent.as_deref(), self.cause.trace_state.as_deref())
    }

    /// What is said because of the mail; `trace` is its span.
    pub(crate) fn cause(&self, trace: opentelemetry::Context) -> Cause {
        let actor = self.cause.actor.as_deref().and_then(|actor| actor.parse().ok());
        let mut cause = Cause::origin(from_bson(self.cause.correlation_id), actor, trace);
        cause.id = Some(self.cause_id());
        cause
    }

    /// The database's time when the mail was claimed.
    pub(crate) fn claimed_at(&self) -> bson::DateTime {
        self.claimed_at.unwrap_or(self.next_attempt_at)
    }

    /// Finds it as long as nobody else has claimed it since.
    pub(crate) fn while_claimed(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name(), "claim": self.claim }
    }

    /// Finds it as long as it is neither sent nor given up.
    pub(crate) fn while_pending(&self) -> Document {
        doc! { "_id": self.id, "state": State::Pending.name() }
    }

    /// How old it was when it was claimed.
    pub(crate) fn age(&self) -> Duration {
        self.claimed_at().saturating_duration_since(self.created_at)
    }
}

/// A mail's id: notification id, document id, Message-ID.
pub fn id_of(cause: Uuid, recipient: Uuid) -> Uuid {
    let mut name = [0; 32];
    name[..16].copy_from_slice(cause.as_bytes());
    name[16..].copy_from_slice(recipient.as_bytes());
    Uuid::new_v5(&NAMESPACE, &name)
}

/// Writes mails in a handler's transaction, and wakes the mailer when they are there. A mail that is there
/// already stays as it is.
pub(crate) async fn queue(unit: &mut Unit<Mongo>, lanes: &Lanes, mails: Vec<Mail>) -> Result<(), StoreError> {
    for lane in Lane::ALL {
        if mails.iter().any(|mail| mail.lane == lane) {
            unit.wake(lanes.get(lane));
        }
    }
    let updates = mails.iter().map(|mail| {
        let mut document = bson::serialize_to_document(mail).expect("a mail is a document");
        document.remove("_id");
        Update {
            filter: doc! { "_id": mail.id },
            change: doc! { "$setOnInsert": document },
            upsert: true,
        }
    });
    unit.tx().update_each(MAILS, updates).await?;
    Ok(())
}

/// Lets mails go on that waited for what is there now: a profile of these users, or these events.
pub(crate) async fn arrived(
    unit: &mut Unit<Mongo>,
    lanes: &Lanes,
    missing: Missing,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.iter().map(|id| Bson::from(to_bson(*id))).collect();
    let filter = doc! { "missing": missing.name(), missing.field(): { "$in": ids } };
    let tx = unit.tx();
    let mails = tx.collection::<Document>(MAILS);
    // Due since ever: whatever the clocks say.
    let change = doc! { "$set": { "next_attempt_at": bson::DateTime::from_millis(0) }, "$unset": { "missing": "" } };
    let updated = mails
        .update_many(filter, change)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    if updated.modified_count > 0 {
        Lane::ALL.into_iter().for_each(|lane| unit.wake(lanes.get(lane)));
    }
    Ok(())
}

/// What a mail can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Profile,
    Event,
}

impl Missing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Event => "event",
        }
    }

    /// The mail's field that says whose.
    fn field(self) -> &'static str {
        match self {
            Self::Profile => "user",
            Self::Event => "event",
        }
    }
}

/// What is due in a lane.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The oldest ones, with their ages.
    pub(crate) mails: Vec<(bson::Uuid, Duration)>,
    /// How long until the next one, if nothing else comes.
    pub(crate) next: Option<Duration>,
}

/// Looks for up to `limit` mails that are due, by the database's clock.
pub(crate) async fn due(mongo: &Mongo, lane: Lane, limit: usize) -> Result<Due, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        _id: bson::Uuid,
        in_ms: i64,
        age_ms: i64,
    }
    let pipeline = [
        doc! { "$match": { "state": State::Pending.name(), "lane": lane.name() } },
        doc! { "$sort": { "next_attempt_at": 1 } },
        doc! { "$limit": i64::try_from(limit).unwrap_or(i64::MAX).max(1) },
        doc! { "$project": {
            "in_ms": { "$subtract": ["$next_attempt_at", "$$NOW"] },
            "age_ms": { "$subtract": ["$$NOW", "$created_at"] },
        } },
    ];
    let cursor = mongo
        .collection::<Document>(MAILS)
        .aggregate(pipeline)
        .with_type::<Row>()
        .await;
    let rows: Vec<Row> = cursor.map_err(store_error)?.try_collect().await.map_err(store_error)?;
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    Ok(Due {
        next: rows.iter().find(|row| row.in_ms > 0).map(|row| millis(row.in_ms)),
        mails: rows
            .iter()
            .filter(|row| row.in_ms <= 0)
            .map(|row| (row._id, millis(row.age_ms)))
            .collect(),
    })
}

/// Claims mails for `length`: nobody else finds them due until then. Answers those that were still free.
///
/// The claim is majority-committed when this returns, and so is what was there before it: a mail whose
/// transaction a fail-over would take back is not sent.
pub(crate) async fn claim(mongo: &Mongo, ids: &[bson::Uuid], length: Duration) -> Result<Vec<Mail>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let claim = bson::Uuid::new();
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let filter = doc! {
        "_id": { "$in": ids },
        "state": State::Pending.name(),
        "$expr": { "$lte": ["$next_attempt_at", "$$NOW"] },
    };
    let change = vec![
        doc! { "$set": {
            "claim": claim,
            "claimed_at": "$$NOW",
            "next_attempt_at": { "$add": ["$$NOW", length] },
        } },
        doc! { "$unset": "missing" },
    ];
    let mails = mongo.collection::<Mail>(MAILS);
    mails.update_many(filter, change).await.map_err(store_error)?;
    let found = mails
        .find(doc! { "_id": { "$in": ids }, "claim": claim })
        .await
        .map_err(store_error)?;
    found.try_collect().await.map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_and_recipient_are_one_mail() {
        let (cause, ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        assert_eq!(id_of(cause, ada), id_of(cause, ada));
        assert_ne!(id_of(cause, ada), id_of(cause, bob));
        assert_ne!(id_of(cause, ada), id_of(ada, cause));
        // Mails of earlier versions must be found again.
        assert_eq!(id_of(cause, ada).get_version_num(), 5);
    }

    #[test]
    fn only_the_welcome_may_be_late() {
        assert_eq!(Lane::of(NotificationKind::Welcome), Lane::Bulk);
        assert_eq!(Lane::of(NotificationKind::SeatConfirmed), Lane::Priority);
    }
}
