//! What this service knows of other services' things: copies, kept by its handlers.
//!
//! There is no order between topics, so any of them may be missing when something that refers to it is
//! there already; what needs it waits for it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use contracts::Timestamp;
use futures::TryStreamExt;
use messaging::ledger::StoreError;
use mongo::{Mongo, Tx, Update, store_error, to_bson};
use mongodb::bson::{self, Bson, Document, doc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Users: whether their account is open.
pub(crate) const MEMBERS: &str = "members";
/// Users: where and how to write to them. The one collection with personal data.
pub(crate) const PROFILES: &str = "profiles";
pub(crate) const EVENTS: &str = "events";
pub(crate) const REGISTRATIONS: &str = "registrations";

/// Where and how to write to a user. Holds personal data: it has no `Debug` on purpose.
#[derive(Clone, Deserialize)]
pub struct Profile {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub email: String,
    pub full_name: String,
    /// IANA name.
    pub time_zone: String,
}

impl Profile {
    pub fn new(user: Uuid, email: &str, full_name: &str, time_zone: &str) -> Self {
        Self {
            id: to_bson(user),
            email: email.to_owned(),
            full_name: full_name.to_owned(),
            time_zone: time_zone.to_owned(),
        }
    }
}

/// What mails tell of an event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    #[serde(rename = "_id")]
    pub(crate) id: bson::Uuid,
    pub title: String,
    pub venue: String,
    pub(crate) starts_at: bson::DateTime,
    /// IANA name of the venue's.
    pub time_zone: String,
    /// Where it was cancelled.
    pub cancel_reason: Option<String>,
}

impl Event {
    pub fn id(&self) -> Uuid {
        mongo::from_bson(self.id)
    }

    /// The moment, for calendars.
    pub(crate) fn starts_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.starts_at.timestamp_millis()).unwrap_or_default()
    }
}

/// What a batch of mails needs to be written.
#[derive(Default)]
pub(crate) struct Copies {
    profiles: HashMap<Uuid, Profile>,
    events: HashMap<Uuid, Event>,
    closed: HashMap<Uuid, Closed>,
}

#[derive(Deserialize)]
struct Closed {
    #[serde(rename = "_id")]
    id: bson::Uuid,
}

impl Copies {
    /// Reads what there is of these users and events.
    pub(crate) async fn load(mongo: &Mongo, users: &[Uuid], events: &[Uuid]) -> Result<Self, StoreError> {
        let ids = |ids: &[Uuid]| doc! { "$in": ids.iter().map(|id| Bson::from(to_bson(*id))).collect::<Vec<_>>() };
        let (profiles, closed, events) = tokio::try_join!(
            find::<Profile>(mongo, PROFILES, doc! { "_id": ids(users) }),
            find::<Closed>(mongo, MEMBERS, doc! { "_id": ids(users), "active": false }),
            // The order within the topic says that the title is there; a stub without one is no copy yet.
            find::<Event>(mongo, EVENTS, doc! { "_id": ids(events), "title": { "$exists": true } }),
        )?;
        Ok(Self {
            profiles: by_id(profiles, |profile| profile.id),
            events: by_id(events, |event| event.id),
            closed: by_id(closed, |closed| closed.id),
        })
    }

    pub(crate) fn profile(&self, user: Uuid) -> Option<&Profile> {
        self.profiles.get(&user)
    }

    pub(crate) fn event(&self, event: Uuid) -> Option<&Event> {
        self.events.get(&event)
    }

    /// Whether the user's account is known to be closed.
    pub(crate) fn is_closed(&self, user: Uuid) -> bool {
        self.closed.contains_key(&user)
    }
}

async fn find<T: DeserializeOwned + Send + Sync + Unpin>(
    mongo: &Mongo,
    collection: &str,
    filter: Document,
) -> Result<Vec<T>, StoreError> {
    let cursor = mongo
        .collection::<T>(collection)
        .find(filter)
        .await
        .map_err(store_error)?;
    cursor.try_collect().await.map_err(store_error)
}

fn by_id<T>(rows: Vec<T>, id: impl Fn(&T) -> bson::Uuid) -> HashMap<Uuid, T> {
    rows.into_iter().map(|row| (mongo::from_bson(id(&row)), row)).collect()
}

/// What a batch changes in one collection of copies: the fields of each document, the last word wins.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<Uuid, Document>);

impl Changes {
    pub(crate) fn set(&mut self, id: Uuid, fields: Document) {
        self.0.entry(id).or_default().extend(fields);
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.0.keys().copied().collect()
    }

    /// One statement; a document that is not there is made.
    pub(crate) async fn write(self, tx: &mut Tx, collection: &str) -> Result<(), StoreError> {
        let updates = self.0.into_iter().map(|(id, fields)| Update {
            filter: doc! { "_id": to_bson(id) },
            change: doc! { "$set": fields },
            upsert: true,
        });
        tx.update_each(collection, updates).await?;
        Ok(())
    }
}

/// BSON times are to the millisecond.
pub(crate) fn time(time: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(time.as_micros() / 1000)
}
