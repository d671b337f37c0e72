use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt as _;
use messaging::ledger::StoreError;
use mongo::{Mongo, Tx, from_bson, store_error, to_bson};
use mongodb::bson::{self, Document, doc};
use uuid::Uuid;

use super::service::{Entry, Store};
use crate::mongo::{MongoDatabase, mongo};

/// The suite's service on MongoDB.
#[derive(Clone)]
pub struct OnMongo {
    database: Arc<MongoDatabase>,
    /// The order of the notes: every process of a test shares it.
    place: Arc<AtomicI64>,
}

impl Store for OnMongo {
    type Ledger = Mongo;

    async fn fresh() -> Self {
        let database = mongo().await;
        for name in ["journal", "claims", "notes"] {
            let created = database.ledger().prepare_collection(name, Vec::new()).await;
            created.expect("collections can be created");
        }
        Self {
            database: Arc::new(database),
            place: Arc::default(),
        }
    }

    fn ledger(&self) -> Mongo {
        self.database.ledger()
    }

    async fn version(&self, tx: &mut Tx, key: Uuid) -> Result<i64, StoreError> {
        let newest = tx
            .collection::<Document>("journal")
            .find_one(doc! { "_id.key": to_bson(key) })
            .sort(doc! { "_id.number": -1 })
            .session(tx.session())
            .await
            .map_err(store_error)?;
        Ok(newest.map_or(0, |document| entry(&document).number))
    }

    async fn journal(&self, tx: &mut Tx, entry: Entry) -> Result<(), StoreError> {
        let document = doc! { "_id": { "key": to_bson(entry.key), "number": entry.number }, "id": to_bson(entry.id) };
        insert(tx, "journal", document).await
    }

    async fn claim(&self, tx: &mut Tx, name: &str) -> Result<(), StoreError> {
        insert(tx, "claims", doc! { "_id": name }).await
    }

    async fn is_claimed(&self, tx: &mut Tx, name: &str) -> Result<bool, StoreError> {
        let claims = tx.collection::<Document>("claims");
        let found = claims.find_one(doc! { "_id": name }).session(tx.session()).await;
        Ok(found.map_err(store_error)?.is_some())
    }

    async fn record_effect(&self, tx: &mut Tx, entry: Entry) -> Result<(), StoreError> {
        let place = self.place.fetch_add(1, Ordering::Relaxed);
        let id = doc! { "place": place, "key": to_bson(entry.key), "number": entry.number };
        insert(tx, "notes", doc! { "_id": id, "id": to_bson(entry.id) }).await
    }

    async fn journaled(&self) -> Vec<Entry> {
        let mut entries = self.entries("journal").await;
        entries.sort_unstable();
        entries
    }

    async fn effects(&self) -> Vec<Entry> {
        self.entries("notes").await
    }
}

impl OnMongo {
    async fn entries(&self, collection: &str) -> Vec<Entry> {
        let ledger = self.database.ledger();
        let documents = ledger.collection::<Document>(collection);
        let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await;
        let found: Result<Vec<Document>, _> = found.expect("the suite's collections can be read").try_collect().await;
        let found = found.expect("the suite's collections can be read");
        found.iter().map(entry).collect()
    }
}

async fn insert(tx: &mut Tx, collection: &str, document: Document) -> Result<(), StoreError> {
    let collection = tx.collection::<Document>(collection);
    collection
        .insert_one(document)
        .session(tx.session())
        .await
        .map_err(store_error)?;
    Ok(())
}

fn entry(document: &Document) -> Entry {
    let place = document.get_document("_id").expect("entries have a place");
    let uuid = |document: &Document, field: &str| {
        let id: bson::Uuid = bson::deserialize_from_bson(document[field].clone()).expect("the field is a UUID");
        from_bson(id)
    };
    Entry {
        key: uuid(place, "key"),
        number: place.get_i64("number").expect("entries have a number"),
        id: uuid(document, "id"),
    }
}
