//! Copies of other services' data, which the handlers store.
//!
//! Messages of different topics arrive in any order, so a copy may be missing although other data refers to it. An
//! e-mail that needs a missing copy waits for it.

mod event_summary;
mod registration;

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

use crate::mail::Mail;
use crate::mailing::{MAILINGS, Mailing};

pub(crate) use event_summary::EventSummary;
pub(crate) use registration::{Registration, RegistrationState};

/// Collection of users, with the status of their accounts.
pub(crate) const MEMBERS: &str = "members";
/// Collection of profiles: users' addresses and preferences. The only collection with personal data.
pub(crate) const PROFILES: &str = "profiles";
pub(crate) const EVENTS: &str = "events";
pub(crate) const REGISTRATIONS: &str = "registrations";

/// The address and preferences of a user. It contains personal data, so it deliberately does not implement `Debug`.
#[derive(Clone, Deserialize)]
pub struct Profile {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    pub email: String,
    pub full_name: String,
    /// IANA name of the user's time zone.
    pub time_zone: String,
    /// `true` if the user has verified the address.
    pub email_verified: bool,
    /// `true` if the user wants reminders.
    pub reminders: bool,
    /// `true` if the user wants organizers' announcements.
    pub announcements: bool,
    /// Version of the user aggregate that the profile is from.
    #[serde(default)]
    pub version: i64,
}

impl Profile {
    /// Creates the profile of a user who wants all e-mails.
    pub fn new(user: Uuid, email: &str, full_name: &str, time_zone: &str) -> Self {
        Self {
            id: to_bson(user),
            email: email.to_owned(),
            full_name: full_name.to_owned(),
            time_zone: time_zone.to_owned(),
            email_verified: false,
            reminders: true,
            announcements: true,
            version: 1,
        }
    }
}

/// The data of an event that e-mails contain.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    #[serde(rename = "_id")]
    pub(crate) id: bson::Uuid,
    pub title: String,
    pub venue: String,
    pub(crate) starts_at: bson::DateTime,
    /// IANA name of the venue's time zone.
    pub time_zone: String,
    /// The organizer's reason, if the event was cancelled.
    pub cancel_reason: Option<String>,
    pub(crate) cancelled_at: Option<bson::DateTime>,
}

impl Event {
    pub fn id(&self) -> Uuid {
        mongo::from_bson(self.id)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled_at.is_some()
    }

    /// Returns the start as a time that can be converted to any time zone.
    pub(crate) fn starts_at(&self) -> DateTime<Utc> {
        moment(self.starts_at)
    }
}

/// The copies that a batch of e-mails refers to.
#[derive(Default)]
pub(crate) struct Copies {
    profiles: HashMap<Uuid, Profile>,
    events: HashMap<Uuid, Event>,
    registrations: HashMap<Uuid, Registration>,
    mailings: HashMap<Uuid, Mailing>,
    closed: HashMap<Uuid, Closed>,
}

#[derive(Deserialize)]
struct Closed {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    #[serde(default)]
    erased: bool,
}

impl Copies {
    /// Reads all existing copies that these e-mails refer to.
    pub(crate) async fn load(mongo: &Mongo, mails: &[Mail]) -> Result<Self, StoreError> {
        let users: Vec<_> = mails.iter().map(Mail::user).collect();
        let events: Vec<_> = mails.iter().filter_map(Mail::event).collect();
        let broadcasts = || mails.iter().filter(|mail| mail.is_broadcast());
        let registrations: Vec<_> = broadcasts().filter_map(Mail::registration).collect();
        let causes: Vec<_> = broadcasts().map(Mail::cause_id).collect();
        let (profiles, closed, events, registrations, mailings) = tokio::try_join!(
            find(mongo, PROFILES, &users, doc! {}),
            find(mongo, MEMBERS, &users, doc! { "active": false }),
            // A document without a title is only a placeholder that a registration created before the event arrived.
            find(mongo, EVENTS, &events, doc! { "title": { "$exists": true } }),
            find(mongo, REGISTRATIONS, &registrations, doc! {}),
            find(mongo, MAILINGS, &causes, doc! {}),
        )?;
        Ok(Self {
            profiles: by_id(profiles, |profile: &Profile| profile.id),
            events: by_id(events, |event: &Event| event.id),
            registrations: by_id(registrations, |registration: &Registration| to_bson(registration.id())),
            mailings: by_id(mailings, |mailing: &Mailing| to_bson(mailing.cause_id())),
            closed: by_id(closed, |closed: &Closed| closed.id),
        })
    }

    pub(crate) fn profile(&self, user: Uuid) -> Option<&Profile> {
        self.profiles.get(&user)
    }

    pub(crate) fn event(&self, event: Uuid) -> Option<&Event> {
        self.events.get(&event)
    }

    pub(crate) fn registration(&self, registration: Uuid) -> Option<&Registration> {
        self.registrations.get(&registration)
    }

    /// Returns the mailing with this cause.
    pub(crate) fn mailing(&self, cause: Uuid) -> Option<&Mailing> {
        self.mailings.get(&cause)
    }

    /// Returns `true` if the user's account is known to be closed.
    pub(crate) fn is_closed(&self, user: Uuid) -> bool {
        self.closed.contains_key(&user)
    }

    /// Returns `true` if the user is known to be erased.
    pub(crate) fn is_erased(&self, user: Uuid) -> bool {
        self.closed.get(&user).is_some_and(|closed| closed.erased)
    }
}

/// Returns those of `users` that were erased.
pub(crate) async fn erased(tx: &mut Tx, users: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let erased: Vec<Closed> = find_in(tx, MEMBERS, doc! { "_id": among(users), "erased": true }).await?;
    Ok(erased.iter().map(|member| mongo::from_bson(member.id)).collect())
}

/// Deletes the profiles of these users, and with them all their personal data.
pub(crate) async fn delete_profiles(tx: &mut Tx, users: &[Uuid]) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    let profiles = tx.collection::<Document>(PROFILES);
    profiles
        .delete_many(doc! { "_id": among(users) })
        .session(tx.session())
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Returns a filter condition that matches any of these ids.
pub(crate) fn among(ids: &[Uuid]) -> Document {
    doc! { "$in": ids.iter().map(|id| Bson::from(to_bson(*id))).collect::<Vec<_>>() }
}

/// Finds documents within a transaction.
pub(crate) async fn find_in<T: DeserializeOwned + Send + Sync + Unpin>(
    tx: &mut Tx,
    collection: &str,
    filter: Document,
) -> Result<Vec<T>, StoreError> {
    let found = tx.collection::<T>(collection).find(filter).session(tx.session()).await;
    let mut found = found.map_err(store_error)?;
    found.stream(tx.session()).try_collect().await.map_err(store_error)
}

async fn find<T: DeserializeOwned + Send + Sync + Unpin>(
    mongo: &Mongo,
    collection: &str,
    ids: &[Uuid],
    mut filter: Document,
) -> Result<Vec<T>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    filter.insert("_id", among(ids));
    let found = mongo.collection::<T>(collection).find(filter).await;
    found.map_err(store_error)?.try_collect().await.map_err(store_error)
}

fn by_id<T>(rows: Vec<T>, id: impl Fn(&T) -> bson::Uuid) -> HashMap<Uuid, T> {
    rows.into_iter().map(|row| (mongo::from_bson(id(&row)), row)).collect()
}

/// The changes that a batch makes in one collection of copies: the fields of each document. Later values replace earlier ones.
#[derive(Default)]
pub(crate) struct Changes(BTreeMap<Uuid, Document>);

impl Changes {
    pub(crate) fn set(&mut self, id: Uuid, fields: Document) {
        self.0.entry(id).or_default().extend(fields);
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.0.keys().copied().collect()
    }

    /// Writes all changes in one statement, which creates missing documents.
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

pub(crate) fn moment(time: bson::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or_default()
}

/// Converts a time to BSON, which has a precision of milliseconds.
pub(crate) fn time(time: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(time.as_micros() / 1000)
}
