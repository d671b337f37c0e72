use std::collections::HashMap;

use messaging::ledger::StoreError;
use mongo::{Tx, Update, to_bson};
use mongodb::bson::{self, doc};
use serde::Deserialize;
use uuid::Uuid;

use super::{EVENTS, among, by_id, find_in};

/// The data of an event that the handlers need.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct EventSummary {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub(crate) starts_at: Option<bson::DateTime>,
    cancelled_at: Option<bson::DateTime>,
    /// Time of the cause of the latest mailing.
    #[serde(rename = "last_told_at")]
    pub(crate) last_mailing_at: Option<bson::DateTime>,
    /// Counter that each change of registrations increments. It exists once a user has registered.
    registrations: Option<i64>,
}

impl EventSummary {
    /// Returns `true` if a registration for the event is known.
    pub(crate) fn has_registrations(&self) -> bool {
        self.registrations.is_some()
    }

    /// Returns the start, if it is known and the event is not cancelled.
    pub(crate) fn upcoming_start(&self) -> Option<bson::DateTime> {
        self.starts_at.filter(|_| self.cancelled_at.is_none())
    }

    /// Reads those of `events` that are known, within the transaction.
    pub(crate) async fn load(tx: &mut Tx, events: &[Uuid]) -> Result<HashMap<Uuid, Self>, StoreError> {
        let summaries = find_in(tx, EVENTS, doc! { "_id": among(events) }).await?;
        Ok(by_id(summaries, |summary: &Self| summary.id))
    }

    /// Reads the events before a change of their registrations.
    ///
    /// Writes to the documents of the events and creates missing ones so that a concurrent transaction that changes an
    /// event conflicts with this one. Therefore one of the two always sees the other's change.
    pub(crate) async fn lock(tx: &mut Tx, events: &[Uuid]) -> Result<HashMap<Uuid, Self>, StoreError> {
        let updates = events.iter().map(|event| Update {
            filter: doc! { "_id": to_bson(*event) },
            change: doc! { "$inc": { "registrations": 1_i64 } },
            upsert: true,
        });
        tx.update_each(EVENTS, updates).await?;
        Self::load(tx, events).await
    }
}
