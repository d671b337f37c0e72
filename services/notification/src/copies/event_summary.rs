use std::collections::HashMap;

use messaging::ledger::StoreError;
use mongo::{Tx, Update, to_bson};
use mongodb::bson::{self, doc};
use serde::Deserialize;
use uuid::Uuid;

use super::{EVENTS, among, by_id, find_in};

/// What handlers need of an event.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Head {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub(crate) starts_at: Option<bson::DateTime>,
    cancelled_at: Option<bson::DateTime>,
    /// When something was said to everybody there, most recently.
    pub(crate) last_told_at: Option<bson::DateTime>,
    /// There once somebody has registered.
    registrations: Option<i64>,
}

impl Head {
    /// Whether anybody has registered, as far as is known.
    pub(crate) fn has_registrations(&self) -> bool {
        self.registrations.is_some()
    }

    /// The start, where it is known and the event takes place.
    pub(crate) fn coming_start(&self) -> Option<bson::DateTime> {
        self.starts_at.filter(|_| self.cancelled_at.is_none())
    }

    /// Those of `events` that are known, as the transaction sees them.
    pub(crate) async fn load(tx: &mut Tx, events: &[Uuid]) -> Result<HashMap<Uuid, Self>, StoreError> {
        let heads = find_in(tx, EVENTS, doc! { "_id": among(events) }).await?;
        Ok(by_id(heads, |head: &Self| head.id))
    }

    /// The same, for who changes registrations. Writes the event's document, and makes it where it is missing: a
    /// change of the event that is under way elsewhere then either is seen here, or sees these registrations.
    pub(crate) async fn hold(tx: &mut Tx, events: &[Uuid]) -> Result<HashMap<Uuid, Self>, StoreError> {
        let updates = events.iter().map(|event| Update {
            filter: doc! { "_id": to_bson(*event) },
            change: doc! { "$inc": { "registrations": 1_i64 } },
            upsert: true,
        });
        tx.update_each(EVENTS, updates).await?;
        Self::load(tx, events).await
    }
}
