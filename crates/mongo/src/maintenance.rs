use std::collections::HashSet;
use std::time::Duration;

use messaging::ledger::{Maintenance, StoreError};
use mongodb::bson::{Bson, Document, doc};

use crate::sequences::SEQUENCES;
use crate::setup::ledger_collections;
use crate::{Mongo, store_error};

/// Wire version of MongoDB 6.0, the oldest version that was tested.
const WIRE_VERSION: i32 = 17;

impl Maintenance for Mongo {
    async fn housekeeping(&self, inbox_retention: Duration) -> Result<(), StoreError> {
        self.delete_inbox_entries(inbox_retention).await?;
        self.delete_expired_leases().await
    }

    async fn forget_states(&self, topic: &str, version: i64) -> Result<(), StoreError> {
        let id = |key: Bson| doc! { "topic": topic, "key": key };
        // A range of the index, because an `_id` is compared field by field.
        let keys = doc! { "$gte": id(Bson::MinKey), "$lte": id(Bson::MaxKey) };
        self.collection::<Document>(SEQUENCES)
            .delete_many(doc! { "_id": keys, "last": { "$lt": version }, "has_parked": false })
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn boot_problems(&self) -> Result<Vec<String>, StoreError> {
        let hello = self
            .database()
            .run_command(doc! { "hello": 1 })
            .await
            .map_err(store_error)?;
        let mut problems = server_problems(&hello);
        let existing: HashSet<_> = self
            .database()
            .list_collection_names()
            .await
            .map_err(store_error)?
            .into_iter()
            .collect();
        let missing: Vec<_> = ledger_collections()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !existing.contains(*name))
            .collect();
        if !missing.is_empty() {
            problems.push(format!(
                "the collections {missing} are missing in the database {name}: run `migrate`",
                missing = missing.join(", "),
                name = self.database().name(),
            ));
        }
        Ok(problems)
    }
}

fn server_problems(hello: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    if !hello.contains_key("setName") {
        problems.push(
            "MongoDB is not a replica set and therefore has no transactions: start mongod with --replSet \
             and run rs.initiate() once; one member is enough"
                .to_owned(),
        );
    }
    if hello.get_i32("maxWireVersion").unwrap_or(0) < WIRE_VERSION {
        problems.push("MongoDB is older than 6.0: upgrade it".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_server_is_reported() {
        let problems = server_problems(&doc! { "maxWireVersion": WIRE_VERSION });
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("--replSet"), "{problems:?}");
    }

    #[test]
    fn an_old_server_is_reported() {
        let problems = server_problems(&doc! { "setName": "rs0", "maxWireVersion": 13 });
        assert_eq!(problems, ["MongoDB is older than 6.0: upgrade it"]);
    }

    #[test]
    fn a_replica_set_has_no_problems() {
        let problems = server_problems(&doc! { "setName": "rs0", "maxWireVersion": 21 });
        assert_eq!(problems, [] as [&str; 0]);
    }
}
