//! Mailings: e-mails to all attendees of an event. Each is a document that is processed in chunks by commands that the
//! service sends to itself, so the cost of handling its cause does not depend on the number of recipients.

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
use crate::copies::{REGISTRATIONS, Registration, RegistrationState, among, find_in};
use crate::mail::Mail;

pub(crate) const MAILINGS: &str = "mailings";

/// Maximum number of registrations in one chunk.
pub const MAX_CHUNK: usize = 500;
/// Maximum number of registrations in all chunks of one transaction, unless each chunk has only [`MIN_CHUNK`].
const MAX_PER_TRANSACTION: usize = 2_000;
const MIN_CHUNK: usize = 10;

/// A mailing, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mailing {
    /// The `ce_id` of its cause.
    #[serde(rename = "_id")]
    id: bson::Uuid,
    event: bson::Uuid,
    cause: StoredCause,
    #[serde(rename = "tell")]
    content: MailingContent,
}

/// The content of a mailing, which also determines its recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MailingContent {
    /// A new start, sent to all active registrations. Those with a seat get a new reminder.
    Rescheduled { previous_starts_at: bson::DateTime },
    /// An announcement, sent to all registrations with a seat. The body is Markdown.
    Announcement { subject: String, body: String },
    /// No e-mail: only schedules reminders for all registrations with a seat, because the start has become known.
    Reminders,
}

impl Mailing {
    pub(crate) fn new(cause: StoredCause, event: Uuid, content: MailingContent) -> Self {
        Self {
            id: to_bson(cause.id()),
            event: to_bson(event),
            cause,
            content,
        }
    }

    pub(crate) fn cause_id(&self) -> Uuid {
        from_bson(self.id)
    }

    pub(crate) fn event(&self) -> Uuid {
        from_bson(self.event)
    }

    pub(crate) fn content(&self) -> &MailingContent {
        &self.content
    }

    /// Returns the time at which the cause was published.
    pub(crate) fn published_at(&self) -> bson::DateTime {
        self.cause.at
    }

    /// Returns `true` if reminders are to be scheduled for registrations with a seat.
    pub(crate) fn schedules_reminders(&self) -> bool {
        match self.content {
            MailingContent::Rescheduled { .. } | MailingContent::Reminders => true,
            MailingContent::Announcement { .. } => false,
        }
    }

    /// Returns the e-mail for a registration that has been active since `placed_at` and has had a seat since
    /// `seated_at`, or `None` if it is not a recipient.
    ///
    /// A registration is a recipient if it was active (for an announcement: had a seat) when the cause was published, by the
    /// times of both messages. A user who registers later finds everything in the confirmation.
    pub(crate) fn mail_for(
        &self,
        user: Uuid,
        registration: Uuid,
        placed_at: Option<bson::DateTime>,
        seated_at: Option<bson::DateTime>,
    ) -> Option<Mail> {
        let (kind, since) = match self.content {
            MailingContent::Rescheduled { .. } => (NotificationKind::EventRescheduled, placed_at),
            MailingContent::Announcement { .. } => (NotificationKind::Announcement, seated_at),
            MailingContent::Reminders => return None,
        };
        since
            .is_some_and(|since| since <= self.published_at())
            .then(|| Mail::new(self.cause.clone(), kind, user).for_registration(self.event(), registration))
    }
}

/// Stores mailings and publishes the commands for their first chunks. Each mailing comes with the cause of that
/// command.
pub(crate) async fn start(unit: &mut Unit<Mongo>, mailings: &[(Mailing, Cause)]) -> Result<(), Error> {
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
        continue_after(unit, cause, mailing, None)?;
    }
    Ok(())
}

/// Publishes the command for the chunk of registrations that follow `after`.
pub(crate) fn continue_after(
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

/// Finds the mailings with these causes.
pub(crate) async fn find(tx: &mut Tx, causes: &[Uuid]) -> Result<HashMap<Uuid, Mailing>, StoreError> {
    let found: Vec<Mailing> = find_in(tx, MAILINGS, doc! { "_id": among(causes) }).await?;
    Ok(found.into_iter().map(|mailing| (mailing.cause_id(), mailing)).collect())
}

/// Finds the mailings of these events whose causes were published at `at` or later.
pub(crate) async fn find_since(tx: &mut Tx, events: &[Uuid], at: bson::DateTime) -> Result<Vec<Mailing>, StoreError> {
    find_in(
        tx,
        MAILINGS,
        doc! { "event": among(events), "cause.at": { "$gte": at } },
    )
    .await
}

/// Returns the number of registrations in each of `count` chunks that are processed in one transaction.
pub(crate) fn chunk_size(count: usize) -> usize {
    (MAX_PER_TRANSACTION / count.max(1)).clamp(MIN_CHUNK, MAX_CHUNK)
}

/// Finds up to `limit` registrations with a seat or on the waiting list, in the order of their ids, after `after`.
pub(crate) async fn active_registrations(
    tx: &mut Tx,
    event: Uuid,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Registration>, StoreError> {
    let mut filter = doc! {
        "event": to_bson(event),
        "state": { "$in": [RegistrationState::Confirmed.name(), RegistrationState::Waiting.name()] },
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
    fn chunks_are_smaller_when_many_share_a_transaction() {
        assert_eq!([1, 4, 40, 500].map(chunk_size), [500, 500, 50, 10]);
    }
}
