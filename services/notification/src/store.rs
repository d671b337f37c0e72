//! The collections of this service, and their indexes.

use anyhow::{Context, ensure};
use messaging::ledger::StoreError;
use mongo::{Mongo, index};
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use crate::copies::{EVENTS, MEMBERS, PROFILES, REGISTRATIONS};
use crate::mail::MAILS;
use crate::mailing::MAILINGS;

fn collections() -> Vec<(&'static str, Vec<IndexModel>)> {
    let mails = vec![
        // What is due. Only what is pending, so that it stays small however many mails were ever sent.
        partial(doc! { "lane": 1, "next_attempt_at": 1 }, doc! { "state": "pending" }),
        // What waits for a profile or an event.
        partial(
            doc! { "missing": 1, "user": 1 },
            doc! { "missing": { "$exists": true } },
        ),
        partial(
            doc! { "missing": 1, "event": 1 },
            doc! { "missing": { "$exists": true } },
        ),
        // What a message led to.
        index(doc! { "cause.id": 1 }, false),
        index(doc! { "cause.correlation_id": 1 }, false),
        // What waits for a person, whatever it waits for.
        partial(doc! { "user": 1 }, doc! { "state": "pending" }),
    ];
    vec![
        (MEMBERS, vec![]),
        (PROFILES, vec![]),
        (EVENTS, vec![]),
        (
            REGISTRATIONS,
            // In the order in which mailings go through them.
            vec![index(doc! { "event": 1, "_id": 1 }, false)],
        ),
        (MAILINGS, vec![index(doc! { "event": 1, "cause.at": 1 }, false)]),
        (MAILS, mails),
    ]
}

/// Makes what is not there. May be repeated.
pub async fn prepare(mongo: &Mongo) -> Result<(), StoreError> {
    mongo.prepare().await?;
    for (name, indexes) in collections() {
        mongo.prepare_collection(name, indexes).await?;
    }
    Ok(())
}

/// Whether [`prepare`] was run by this version.
pub async fn check(mongo: &Mongo) -> anyhow::Result<()> {
    let there = mongo
        .database()
        .list_collection_names()
        .await
        .context("the store does not answer")?;
    for (name, _) in collections() {
        ensure!(
            there.iter().any(|known| known == name),
            "the collection {name} is missing: run `notification migrate` first"
        );
    }
    Ok(())
}

fn partial(keys: Document, filter: Document) -> IndexModel {
    let options = IndexOptions::builder().partial_filter_expression(filter).build();
    IndexModel::builder().keys(keys).options(options).build()
}
