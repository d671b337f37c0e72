//! The collections and their indexes, and what a server must be to keep the promise.

use std::collections::HashSet;

use futures::future::try_join_all;
use messaging::ledger::StoreError;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use crate::error::is_already_there;
use crate::{Mongo, dead_letters, held, inbox, outbox, parked, position, relay, sequences, store_error};

pub(crate) const SCHEMAS: &str = "schemas";

/// MongoDB 6.0, the oldest that this was tried with.
const WIRE_VERSION: i32 = 17;

impl Mongo {
    /// Makes the collections and indexes of the bookkeeping. May be repeated.
    ///
    /// A collection can't be made inside a transaction that reads a snapshot, so this comes first.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        // Side by side: each waits for the journal.
        let made = bookkeeping()
            .into_iter()
            .map(|(name, indexes)| self.prepare_collection(name, indexes));
        try_join_all(made).await?;
        Ok(())
    }

    /// Makes a collection and its indexes, for a service's own data. May be repeated.
    pub async fn prepare_collection(&self, name: &str, indexes: Vec<IndexModel>) -> Result<(), StoreError> {
        if indexes.is_empty() {
            return match self.database().create_collection(name).await {
                Err(error) if !is_already_there(&error) => Err(store_error(error)),
                _ => Ok(()),
            };
        }
        // Makes the collection too.
        let collection = self.collection::<Document>(name);
        collection.create_indexes(indexes).await.map_err(store_error)?;
        Ok(())
    }

    pub(crate) async fn problems(&self) -> Result<Vec<String>, StoreError> {
        let hello = self
            .database()
            .run_command(doc! { "hello": 1 })
            .await
            .map_err(store_error)?;
        let mut problems = server_problems(&hello);
        let there: HashSet<_> = self
            .database()
            .list_collection_names()
            .await
            .map_err(store_error)?
            .into_iter()
            .collect();
        let missing: Vec<_> = bookkeeping()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !there.contains(*name))
            .collect();
        if !missing.is_empty() {
            problems.push(format!(
                "the database {} lacks the collections {}: run `migrate`",
                self.database().name(),
                missing.join(", ")
            ));
        }
        Ok(problems)
    }
}

fn server_problems(hello: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    if !hello.contains_key("setName") {
        problems.push(
            "MongoDB is no replica set, and without one it has no transactions: start mongod with --replSet \
             and run rs.initiate() once; one member is enough"
                .to_owned(),
        );
    }
    if hello.get_i32("maxWireVersion").unwrap_or(0) < WIRE_VERSION {
        problems.push("MongoDB is older than 6.0: upgrade it".to_owned());
    }
    problems
}

/// An index over these fields, in order.
pub fn index(keys: Document, unique: bool) -> IndexModel {
    let options = IndexOptions::builder().unique(unique).build();
    IndexModel::builder().keys(keys).options(options).build()
}

fn bookkeeping() -> Vec<(&'static str, Vec<IndexModel>)> {
    vec![
        (position::CONSUMED, vec![]),
        (inbox::INBOX, vec![index(doc! { "since": 1 }, false)]),
        (sequences::SEQUENCES, vec![held::held()]),
        (
            parked::PARKED,
            vec![index(doc! { "_id.topic": 1, "_id.key": 1, "_id.sequence": 1 }, false)],
        ),
        (dead_letters::DEAD_LETTERS, vec![]),
        (outbox::OUTBOX, vec![index(outbox::order(), false)]),
        (relay::LEASES, vec![]),
        (relay::OFFSETS, vec![]),
        (SCHEMAS, vec![]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_server_is_no_replica_set() {
        let problems = server_problems(&doc! { "maxWireVersion": WIRE_VERSION });
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("--replSet"), "{problems:?}");
    }

    #[test]
    fn an_old_server_is_named() {
        let problems = server_problems(&doc! { "setName": "rs0", "maxWireVersion": 13 });
        assert_eq!(problems, ["MongoDB is older than 6.0: upgrade it"]);
    }

    #[test]
    fn a_replica_set_is_fine() {
        let problems = server_problems(&doc! { "setName": "rs0", "maxWireVersion": 21 });
        assert_eq!(problems, [] as [&str; 0]);
    }
}
