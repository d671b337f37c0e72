//! The collections and their indexes.

use futures::future::try_join_all;
use messaging::ledger::StoreError;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use crate::error::already_exists;
use crate::schema::partial_index;
use crate::{Mongo, dead_letters, inbox, leases, outbox, parked, pending, position, sequences, store_error};

pub(crate) const SCHEMAS: &str = "schemas";

impl Mongo {
    /// Creates the collections and indexes of the ledger. It may be repeated.
    ///
    /// It must run before the first transaction, because a collection cannot be created inside a transaction that reads a
    /// snapshot.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        // At the same time, because each one waits for the journal.
        let created = ledger_collections()
            .into_iter()
            .map(|(name, indexes)| self.prepare_collection(name, indexes));
        try_join_all(created).await?;
        Ok(())
    }

    /// Creates a collection and its indexes, for a service's own data. It may be repeated.
    pub async fn prepare_collection(&self, name: &str, indexes: Vec<IndexModel>) -> Result<(), StoreError> {
        if indexes.is_empty() {
            return match self.database().create_collection(name).await {
                Err(error) if !already_exists(&error) => Err(store_error(error)),
                _ => Ok(()),
            };
        }
        // This creates the collection too.
        let collection = self.collection::<Document>(name);
        collection.create_indexes(indexes).await.map_err(store_error)?;
        Ok(())
    }
}

/// Returns an index over these fields, in order.
pub fn index(keys: Document, unique: bool) -> IndexModel {
    let options = IndexOptions::builder().unique(unique).build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// Returns the names of the ledger's collections, with their indexes.
pub(crate) fn ledger_collections() -> Vec<(&'static str, Vec<IndexModel>)> {
    vec![
        (position::CONSUMED, vec![]),
        (inbox::INBOX, vec![index(doc! { "since": 1 }, false)]),
        (
            sequences::SEQUENCES,
            vec![pending::pending_index(), index(doc! { "last_id": 1 }, false)],
        ),
        (
            parked::PARKED,
            vec![
                index(doc! { "_id.topic": 1, "_id.key": 1, "_id.sequence": 1 }, false),
                index(doc! { "_id.topic": 1, "_id.key": 1, "parked_at": 1 }, false),
                index(doc! { "message_id": 1 }, false),
                index(doc! { "names": 1 }, false),
            ],
        ),
        (
            dead_letters::DEAD_LETTERS,
            vec![
                index(doc! { "redriven_as": 1 }, false),
                index(doc! { "names": 1 }, false),
            ],
        ),
        (
            outbox::OUTBOX,
            vec![
                index(outbox::order(), false),
                partial_index(doc! { "names": 1 }, doc! { "owner": null }),
            ],
        ),
        (leases::LEASES, vec![]),
        (outbox::OFFSETS, vec![]),
        (SCHEMAS, vec![]),
    ]
}
