//! Preparation, boot checks, schemas, and error messages.

use std::error::Error as _;

use messaging::ledger::{
    DeadLetter, DeliveryLog as _, Maintenance as _, StoreErrorKind, StoredSchema, Transactions as _,
};
use mongodb::bson::{Document, doc};
use uuid::Uuid;

use crate::database::{TestDatabase, committed, eventually, record};

#[tokio::test]
async fn a_database_that_was_not_prepared_is_reported() {
    let database = TestDatabase::bare().await;
    let store = &database.store;
    let problems = store.boot_problems().await.expect("the server responds");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("consumed") && problems[0].contains("migrate"),
        "{problems:?}"
    );
    store.prepare().await.expect("created");
    store.prepare().await.expect("it may be repeated");
    assert_eq!(
        store.boot_problems().await.expect("the server responds"),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn the_last_schema_of_an_id_is_stored() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let schema = |id, schema: &str| StoredSchema {
        id,
        schema: schema.to_owned(),
    };
    store.save_schemas(&[]).await.expect("an empty call is allowed");
    store
        .save_schemas(&[schema(1, "old"), schema(7, "{}")])
        .await
        .expect("the server responds");
    store
        .save_schemas(&[schema(1, "new")])
        .await
        .expect("the server responds");
    let mut kept = store.schemas().await.expect("the server responds");
    kept.sort_unstable_by_key(|schema| schema.id);
    assert_eq!(kept, [schema(1, "new"), schema(7, "{}")]);
}

#[tokio::test]
async fn a_dead_letter_keeps_its_bytes() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let dead_letter = DeadLetter {
        id: Uuid::now_v7(),
        reason: contracts::dead_letters::DeadLetterReason::Undecodable,
        detail: "it cannot be decoded".to_owned(),
        record: record(),
    };
    committed(store, async |tx| {
        store.insert_dead_letters(tx, std::slice::from_ref(&dead_letter)).await
    })
    .await
    .expect("no conflict");
    let kept = store.collection::<Document>("dead_letters").find_one(doc! {}).await;
    let kept = kept.expect("the server responds").expect("the dead letter is stored");
    assert_eq!(kept.get_str("reason").ok(), Some("UNDECODABLE"));
    let stored = kept.get_document("record").expect("the record");
    assert_eq!(
        stored.get_binary_generic("value").expect("bytes").as_slice(),
        &[0, 0xff, 0xfe]
    );
    assert_eq!(stored.get_i64("offset").ok(), Some(41));
}

#[tokio::test]
async fn a_duplicate_key_is_a_conflict_whose_text_contains_no_value() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    let unique = vec![mongo::index(doc! { "email": 1 }, true)];
    store.prepare_collection("people", unique).await.expect("created");
    let person = doc! { "email": "ada@example.org" };
    let refused = committed(store, async |tx| {
        let people = tx.collection::<Document>("people");
        people
            .insert_many([&person, &person])
            .session(tx.session())
            .await
            .map_err(mongo::store_error)?;
        Ok(())
    })
    .await
    .expect_err("the e-mail exists");
    assert_eq!(refused.kind, StoreErrorKind::Conflict);
    let source = refused.source().expect("the error has a source");
    let error = refused
        .source
        .downcast_ref::<mongo::Error>()
        .expect("the source is an error of this crate");
    assert_eq!(error.duplicate_index(), Some("email_1"));
    for text in [source.to_string(), format!("{source:?}"), format!("{refused:?}")] {
        assert!(text.contains("11000") && text.contains("email_1"), "{text}");
        assert!(!text.contains("ada@"), "{text}");
    }
    let mut chain = refused.source();
    while let Some(error) = chain {
        assert!(!error.to_string().contains("ada@"), "{error}");
        chain = error.source();
    }
}

#[tokio::test]
async fn a_document_that_is_too_large_is_broken() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    store.prepare_collection("large", vec![]).await.expect("created");
    let refused = committed(store, async |tx| {
        let large = doc! { "text": "x".repeat(17 * 1024 * 1024) };
        let collection = tx.collection::<Document>("large");
        collection
            .insert_one(large)
            .session(tx.session())
            .await
            .map_err(mongo::store_error)?;
        Ok(())
    })
    .await
    .expect_err("the maximum is 16 MiB");
    assert_eq!(refused.kind, StoreErrorKind::Broken, "{refused:?}");
}

#[tokio::test]
async fn many_updates_are_one_statement() {
    let database = TestDatabase::new().await;
    let store = &database.store;
    store.prepare_collection("counters", vec![]).await.expect("created");
    let count = async |tx: &mut mongo::Tx| {
        let updates = [1, 2, 1].map(|id| mongo::Update {
            filter: doc! { "_id": id },
            change: doc! { "$inc": { "n": 1_i64 } },
            upsert: true,
        });
        tx.update_each("counters", updates).await
    };
    assert_eq!(committed(store, count).await.expect("no conflict"), 3);
    let wrong = committed(store, async |tx| {
        let update = mongo::Update {
            filter: doc! { "_id": 1 },
            change: doc! { "$set": { "_id": 5 } },
            upsert: false,
        };
        tx.update_each("counters", [update]).await
    })
    .await
    .expect_err("an _id cannot be changed");
    assert_eq!(wrong.kind, StoreErrorKind::Broken, "{wrong:?}");
}

#[tokio::test]
async fn the_connections_of_the_pool_are_counted() {
    let database = TestDatabase::new().await;
    let registry = prometheus::Registry::new();
    let store = &database.store;
    store.register_metrics(&registry).expect("the registry is empty");
    let connections = |state: &str| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "rollcall_pool_connections");
        let series = family.expect("the metric is registered").get_metric();
        let series = series.iter().find(|metric| metric.get_label()[0].value() == state);
        series.expect("the state is shown").get_gauge().get_value()
    };

    let mut transactions = Vec::new();
    for key in 0..3 {
        let mut tx = store.begin().await.expect("a transaction");
        let partition = messaging::TopicPartition::new("users", key);
        store
            .advance(&mut tx, &partition, None, 1)
            .await
            .expect("the server responds");
        transactions.push(tx);
    }
    assert!(connections("idle") + connections("used") >= 1.0);
    // A statement holds a connection while it runs, but a transaction holds none between its statements.
    assert!(connections("used") <= 3.0);
    for tx in transactions {
        store.rollback(tx).await;
    }
    eventually("every connection is returned", || async {
        (connections("used") == 0.0).then_some(())
    })
    .await;
    assert!(connections("idle") >= 1.0);
}
