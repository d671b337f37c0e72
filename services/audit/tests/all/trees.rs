//! The growth of trees, and the migration of old entries.

use audit::entry::Entry;
use audit::merkle::{self, Edge};
use audit::{grow_trees, leaf, store};
use contracts::{FindCheckpoints, topics};
use mongodb::bson::doc;
use uuid::Uuid;

use crate::app::{App, hex, signed_up};

/// Calculates the root of all entries of `users`, in offset order.
fn root(entries: &[Entry]) -> String {
    let mut edge = Edge::default();
    for entry in entries.iter().filter(|entry| entry.position.topic == "users") {
        edge.append(leaf::hash(entry));
    }
    hex(&edge.root())
}

/// Signs a checkpoint and returns its root of `users`.
async fn signed_root(app: &App) -> String {
    app.sign().await.expect("the log has grown");
    let found = FindCheckpoints { cursor: None, limit: 1 };
    let found = app.query(found).await;
    let heads = found["checkpoints"][0]["heads"].as_array().expect("a list");
    let users = heads
        .iter()
        .find(|head| head["topic"] == "users")
        .expect("a head of `users`");
    users["root"].as_str().expect("a root").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_a_leaf_in_the_order_of_offsets_regardless_of_batches() {
    let app = App::start().await;
    for batch in [1, 15, 1, 40, 3] {
        app.bench
            .deliver_all((0..batch).map(|_| signed_up(Uuid::now_v7())))
            .await;
        app.bench.rewind(&topics::USERS, 0, 0).await;
        app.bench.catch_up().await;
    }
    app.bench.restart();
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    app.bench.deliver_again().await;

    let entries = app.entries().await;
    let indexes: Vec<_> = entries.iter().filter_map(|entry| entry.index).collect();
    assert_eq!(indexes, (0..62).collect::<Vec<_>>());
    for entry in &entries {
        let hash = entry.leaf_hash.as_ref().map(|hash| hash.bytes.clone());
        assert_eq!(hash, Some(merkle::leaf_hash(leaf::text(entry).as_bytes()).to_vec()));
    }
    assert_eq!(signed_root(&app).await, root(&entries));
    assert!(app.verify().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_grows_the_trees_of_many_partitions() {
    let app = App::start().await.partitions(4);
    for _ in 0..2 {
        for _ in 0..40 {
            app.bench.append(signed_up(Uuid::now_v7()));
        }
        app.bench.catch_up_in_one_lane().await;
    }
    let entries = app.entries().await;
    assert_eq!(entries.len(), 80);
    for of_partition in entries.chunk_by(|one, other| one.position.partition == other.position.partition) {
        let indexes: Vec<_> = of_partition.iter().filter_map(|entry| entry.index).collect();
        assert_eq!(indexes, (0..of_partition.len() as i64).collect::<Vec<_>>());
    }
    app.sign().await.expect("the log has grown");
    assert!(app.verify().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_entries_wait_until_old_ones_are_added_to_their_trees() {
    let app = App::start().await;
    app.bench.deliver_all((0..40).map(|_| signed_up(Uuid::now_v7()))).await;
    let with_trees = app.entries().await;
    // As in a version without trees.
    for name in [store::TREES, store::TILES] {
        app.documents(name)
            .delete_many(doc! {})
            .await
            .expect("documents can be written");
    }
    let no_leaf = doc! { "$unset": { "index": "", "leaf_hash": "" } };
    let entries = app.documents(store::ENTRIES);
    entries
        .update_many(doc! {}, no_leaf)
        .await
        .expect("documents can be written");

    app.bench.restart();
    app.bench.append(signed_up(Uuid::now_v7()));
    let ledger = app.database.ledger();
    let (_, grown) = tokio::join!(app.bench.catch_up(), grow_trees(&ledger));
    assert_eq!(grown.expect("the migration succeeds"), 40);
    assert_eq!(
        grow_trees(&ledger).await.expect("the migration succeeds"),
        0,
        "a second run adds nothing"
    );

    let entries = app.entries().await;
    assert_eq!(entries[..40], with_trees);
    assert_eq!(entries[40].index, Some(40), "the new entry is in the same tree");
    assert_eq!(signed_root(&app).await, root(&entries));
    assert!(app.verify().await.is_empty());
}
