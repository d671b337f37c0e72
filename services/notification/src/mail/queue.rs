//! The queue of pending e-mails: inserting, finding due e-mails, and claiming.

use std::time::Duration;

use futures::TryStreamExt;
use messaging::Unit;
use messaging::ledger::StoreError;
use mongo::{Mongo, Update, store_error};
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;
use uuid::Uuid;

use super::{MAILS, Mail, State};
use crate::copies::among;
use crate::mail_queue::{MailQueue, MailQueues};

/// Inserts e-mails in a handler's transaction and notifies the mailer after the commit. An e-mail that already exists
/// is not changed.
pub(crate) async fn enqueue(
    unit: &mut Unit<Mongo>,
    mail_queues: &MailQueues,
    mails: &[Mail],
) -> Result<(), StoreError> {
    for mail_queue in MailQueue::ALL {
        if mails.iter().any(|mail| mail.mail_queue == mail_queue) {
            unit.notify_after_commit(mail_queues.get(mail_queue));
        }
    }
    let updates = mails.iter().map(|mail| {
        let mut document = bson::serialize_to_document(mail).expect("an e-mail is a document");
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

/// Makes e-mails due that waited for data that has arrived: the profiles of these users, or these events.
pub(crate) async fn release_waiting(
    unit: &mut Unit<Mongo>,
    mail_queues: &MailQueues,
    missing: Missing,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    let waiting = doc! { "missing": missing.name(), missing.field(): among(ids) };
    make_due(unit, mail_queues, ids, waiting).await
}

/// Makes all pending e-mails to these users due, whatever they wait for.
pub(crate) async fn retry_now(
    unit: &mut Unit<Mongo>,
    mail_queues: &MailQueues,
    users: &[Uuid],
) -> Result<(), StoreError> {
    // Claimed e-mails are left alone, because two processes must not send the same e-mail.
    let waiting = doc! { "state": State::Pending.name(), "user": among(users), "claim": { "$exists": false } };
    make_due(unit, mail_queues, users, waiting).await
}

async fn make_due(
    unit: &mut Unit<Mongo>,
    mail_queues: &MailQueues,
    ids: &[Uuid],
    waiting: Document,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let tx = unit.tx();
    let mails = tx.collection::<Document>(MAILS);
    // The epoch is in the past by any clock.
    let change = doc! { "$set": { "next_attempt_at": bson::DateTime::from_millis(0) }, "$unset": { "missing": "" } };
    let updated = mails
        .update_many(waiting, change)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    if updated.modified_count > 0 {
        MailQueue::ALL
            .into_iter()
            .for_each(|mail_queue| unit.notify_after_commit(mail_queues.get(mail_queue)));
    }
    Ok(())
}

/// The data that an e-mail can wait for.
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

    /// Returns the field of an e-mail that contains the id of the missing data.
    fn field(self) -> &'static str {
        match self {
            Self::Profile => "user",
            Self::Event => "event",
        }
    }
}

/// The due e-mails of a mail queue.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Ids of the e-mails that have been due for the longest time, with the time since their first attempt.
    pub(crate) mails: Vec<(bson::Uuid, Duration)>,
    /// Ids of the due e-mails whose claim expired before the claiming process recorded an outcome.
    pub(crate) expired: Vec<bson::Uuid>,
    /// Time until the next pending e-mail is due.
    pub(crate) next: Option<Duration>,
}

/// Finds up to `limit` e-mails that are due by the database's clock.
pub(crate) async fn find_due(mongo: &Mongo, mail_queue: MailQueue, limit: usize) -> Result<Due, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        _id: bson::Uuid,
        in_ms: i64,
        tried_ms: i64,
        claim: Option<bson::Uuid>,
    }
    let pipeline = [
        doc! { "$match": { "state": State::Pending.name(), "lane": mail_queue.name() } },
        doc! { "$sort": { "next_attempt_at": 1 } },
        doc! { "$limit": i64::try_from(limit).unwrap_or(i64::MAX).max(1) },
        doc! { "$project": {
            "in_ms": { "$subtract": ["$next_attempt_at", "$$NOW"] },
            "tried_ms": { "$subtract": ["$$NOW", { "$ifNull": ["$tried_since", "$$NOW"] }] },
            "claim": 1,
        } },
    ];
    let cursor = mongo
        .collection::<Document>(MAILS)
        .aggregate(pipeline)
        .with_type::<Row>()
        .await;
    let rows: Vec<Row> = cursor.map_err(store_error)?.try_collect().await.map_err(store_error)?;
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let mut due = Due::default();
    for row in rows {
        match row {
            row if row.in_ms > 0 => due.next = due.next.or_else(|| Some(millis(row.in_ms))),
            row if row.claim.is_some() => due.expired.push(row._id),
            row => due.mails.push((row._id, millis(row.tried_ms))),
        }
    }
    Ok(due)
}

/// Removes expired claims so that the e-mails are due again after `grace`.
///
/// The store is reachable at this moment, so the claiming process can still record the outcome within `grace`. Therefore a
/// e-mail that was sent while the store was unreachable is not sent again.
pub(crate) async fn release_expired_claims(
    mongo: &Mongo,
    ids: &[bson::Uuid],
    grace: Duration,
) -> Result<(), StoreError> {
    let filter = doc! {
        "_id": { "$in": ids },
        "state": State::Pending.name(),
        "claim": { "$exists": true },
        "$expr": { "$lte": ["$next_attempt_at", "$$NOW"] },
    };
    let change = vec![
        doc! { "$set": { "next_attempt_at": { "$add": ["$$NOW", millis(grace)] } } },
        doc! { "$unset": ["claim", "claimed_at"] },
    ];
    let mails = mongo.collection::<Document>(MAILS);
    mails.update_many(filter, change).await.map_err(store_error)?;
    Ok(())
}

/// Claims e-mails for `length` so that no other process finds them due during that time. Returns the e-mails that were
/// not claimed by another process.
///
/// The claim, and everything written before it, is majority-committed when this function returns. Therefore no e-mail
/// is sent whose transaction a fail-over would roll back.
pub(crate) async fn claim(mongo: &Mongo, ids: &[bson::Uuid], length: Duration) -> Result<Vec<Mail>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let claim = bson::Uuid::new();
    let filter = doc! {
        "_id": { "$in": ids },
        "state": State::Pending.name(),
        "claim": { "$exists": false },
        "$expr": { "$lte": ["$next_attempt_at", "$$NOW"] },
    };
    let change = vec![
        doc! { "$set": {
            "claim": claim,
            "claimed_at": "$$NOW",
            "next_attempt_at": { "$add": ["$$NOW", millis(length)] },
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

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
