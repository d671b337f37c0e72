//! Mailings: what is told to everybody at an event. A document each, worked off in pieces by commands to
//! ourselves, so that the message that causes it costs the same however many are told.

use std::collections::HashMap;

use contracts::{ContinueMailing, NotificationCommand, NotificationKind};
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use messaging::{AppendError, Cause, Outgoing, Unit};
use mongo::{Mongo, Tx, Update, from_bson, store_error, to_bson};
use mongodb::bson::{self, doc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cause::StoredCause;
use crate::copies::{Place, REGISTRATIONS, Registration, among, find_in};
use crate::mail::Mail;

pub(crate) const MAILINGS: &str = "mailings";

/// Registrations in one piece, at most.
pub const PIECE: usize = 500;
/// Registrations in all the pieces of one transaction, where each has at least [`SMALLEST_PIECE`].
const TOGETHER: usize = 2_000;
const SMALLEST_PIECE: usize = 10;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mailing {
    /// The `ce_id` of its cause.
    #[serde(rename = "_id")]
    id: bson::Uuid,
    event: bson::Uuid,
    cause: StoredCause,
    tell: Tell,
}

/// What is told, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tell {
    /// To everybody with a place; who has a seat is reminded anew.
    Rescheduled { previous_starts_at: bson::DateTime },
    /// To everybody with a seat. The body is Markdown.
    Announcement { subject: String, body: String },
    /// Nothing yet: the start has become known, and who has a seat is to be reminded of it.
    Reminders,
}

impl Mailing {
    pub(crate) fn new(cause: StoredCause, event: Uuid, tell: Tell) -> Self {
        Self {
            id: to_bson(cause.id()),
            event: to_bson(event),
            cause,
            tell,
        }
    }

    pub(crate) fn cause_id(&self) -> Uuid {
        from_bson(self.id)
    }

    pub(crate) fn event(&self) -> Uuid {
        from_bson(self.event)
    }

    pub(crate) fn tell(&self) -> &Tell {
        &self.tell
    }

    /// When it was said.
    pub(crate) fn at(&self) -> bson::DateTime {
        self.cause.at
    }

    /// Whether who has a seat is to be reminded.
    pub(crate) fn reminds(&self) -> bool {
        match self.tell {
            Tell::Rescheduled { .. } | Tell::Reminders => true,
            Tell::Announcement { .. } => false,
        }
    }

    /// The mail to who has had a place and a seat since then.
    ///
    /// Told is who had it when the thing was said, by the times of both messages: whoever registers while the
    /// mailing is under way finds everything in the confirmation.
    pub(crate) fn mail(
        &self,
        user: Uuid,
        registration: Uuid,
        placed_at: Option<bson::DateTime>,
        seated_at: Option<bson::DateTime>,
    ) -> Option<Mail> {
        let (kind, since) = match self.tell {
            Tell::Rescheduled { .. } => (NotificationKind::EventRescheduled, placed_at),
            Tell::Announcement { .. } => (NotificationKind::Announcement, seated_at),
            Tell::Reminders => return None,
        };
        since
            .is_some_and(|since| since <= self.at())
            .then(|| Mail::because_of(self.cause.clone(), kind, user).about(self.event(), registration))
    }
}

/// Keeps mailings, and has their first pieces done. `cause` is the message behind each.
pub(crate) async fn begin(unit: &mut Unit<Mongo>, mailings: &[(Mailing, Cause)]) -> Result<(), Error> {
    let updates = mailings.iter().map(|(mailing, _)| {
        let mut document = bson::serialize_to_document(mailing).expect("a mailing is a document");
        document.remove("_id");
        Update {
            filter: doc! { "_id": mailing.id },
            change: doc! { "$setOnInsert": document },
            upsert: true,
        }
    });
    unit.tx().update_each(MAILINGS, updates).await?;
    for (mailing, cause) in mailings {
        go_on(unit, cause, mailing, None)?;
    }
    Ok(())
}

/// Has the piece after this registration done.
pub(crate) fn go_on(
    unit: &mut Unit<Mongo>,
    cause: &Cause,
    mailing: &Mailing,
    after: Option<Uuid>,
) -> Result<(), AppendError> {
    let next = ContinueMailing {
        cause_id: mailing.cause_id(),
        event_id: mailing.event(),
        after,
    };
    unit.publish(cause, Outgoing::<NotificationCommand>::new(mailing.event(), next))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<Error> for messaging::Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Append(error) => error.into(),
        }
    }
}

/// The mailings with these causes.
pub(crate) async fn of(tx: &mut Tx, causes: &[Uuid]) -> Result<HashMap<Uuid, Mailing>, StoreError> {
    let found: Vec<Mailing> = find_in(tx, MAILINGS, doc! { "_id": among(causes) }).await?;
    Ok(found.into_iter().map(|mailing| (mailing.cause_id(), mailing)).collect())
}

/// What was said to everybody at these events since `at`.
pub(crate) async fn since(tx: &mut Tx, events: &[Uuid], at: bson::DateTime) -> Result<Vec<Mailing>, StoreError> {
    find_in(
        tx,
        MAILINGS,
        doc! { "event": among(events), "cause.at": { "$gte": at } },
    )
    .await
}

/// How large each of `count` pieces may be that are done in one transaction.
pub(crate) fn piece(count: usize) -> usize {
    (TOGETHER / count.max(1)).clamp(SMALLEST_PIECE, PIECE)
}

/// Those with a place at the event, in the order of their registrations, from `after` on.
pub(crate) async fn places(
    tx: &mut Tx,
    event: Uuid,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Registration>, StoreError> {
    let mut filter = doc! {
        "event": to_bson(event),
        "state": { "$in": [Place::Confirmed.name(), Place::Waiting.name()] },
    };
    if let Some(after) = after {
        filter.insert("_id", doc! { "$gt": to_bson(after) });
    }
    let found = tx
        .collection::<Registration>(REGISTRATIONS)
        .find(filter)
        .sort(doc! { "_id": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .session(tx.session())
        .await;
    let mut found = found.map_err(store_error)?;
    found.stream(tx.session()).try_collect().await.map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_pieces_at_a_time_are_small_ones() {
        assert_eq!([1, 4, 40, 500].map(piece), [500, 500, 50, 10]);
    }
}
