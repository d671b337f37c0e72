//! Proofs that entries are in the log, verified independently of the service, with SHA-256 and RFC 9162 only.

use contracts::ProveAuditEntry;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{App, create_user, hex, signed_up};

fn of(entry_id: &str, checkpoint_id: Option<Uuid>) -> ProveAuditEntry {
    ProveAuditEntry {
        entry_id: entry_id.to_owned(),
        checkpoint_id,
    }
}

fn node(left: &str, right: &str) -> String {
    let bytes = |text: &str| -> Vec<u8> {
        let digits = (0..text.len()).step_by(2);
        digits
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    };
    hex(&Sha256::digest([&[1][..], &bytes(left), &bytes(right)].concat()))
}

/// Verifies an inclusion proof according to RFC 9162, section 2.1.3.2.
fn included(proof: &Json) -> bool {
    let leaf = proof["leaf"].as_str().expect("a leaf");
    let mut hash = hex(&Sha256::digest([&[0][..], leaf.as_bytes()].concat()));
    assert_eq!(proof["leaf_hash"], hash);
    let inclusion = &proof["inclusion"];
    let mut index = inclusion["index"].as_u64().expect("an index");
    let mut last = inclusion["size"].as_u64().expect("a size") - 1;
    for sibling in path(inclusion) {
        if index % 2 == 1 || index == last {
            hash = node(&sibling, &hash);
            while index.is_multiple_of(2) && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, &sibling);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    last == 0 && inclusion["root"] == hash
}

/// Verifies a consistency proof according to RFC 9162, section 2.1.4.2.
fn consistent(from_root: &str, consistency: &Json) -> bool {
    let from = consistency["from_size"].as_u64().expect("a size");
    let size = consistency["size"].as_u64().expect("a size");
    if from == size {
        return path(consistency).is_empty() && consistency["root"] == from_root;
    }
    let mut path = path(consistency);
    if from.is_power_of_two() {
        path.insert(0, from_root.to_owned());
    }
    let (mut one, mut other) = (from - 1, size - 1);
    while one % 2 == 1 {
        (one, other) = (one >> 1, other >> 1);
    }
    let (mut first, mut second) = (path[0].clone(), path[0].clone());
    for sibling in &path[1..] {
        if other == 0 {
            return false;
        }
        if one % 2 == 1 || one == other {
            first = node(sibling, &first);
            second = node(sibling, &second);
            while one.is_multiple_of(2) && one != 0 {
                (one, other) = (one >> 1, other >> 1);
            }
        } else {
            second = node(&second, sibling);
        }
        (one, other) = (one >> 1, other >> 1);
    }
    other == 0 && first == from_root && consistency["root"] == second
}

fn path(proof: &Json) -> Vec<String> {
    let path = proof["path"].as_array().expect("a path");
    path.iter()
        .map(|hash| hash.as_str().expect("a hash").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_has_a_proof_for_every_checkpoint_that_includes_it() {
    let app = App::start().await;
    let mut checkpoints = Vec::new();
    let mut entries = 0;
    for batch in [3, 14, 20] {
        app.bench
            .deliver_all((0..batch).map(|_| signed_up(Uuid::now_v7())))
            .await;
        entries += batch;
        app.sign().await.expect("the log has grown");
        let proof = app.query(of("users-0-0", None)).await;
        let id = proof["checkpoint"]["id"].as_str().expect("an id");
        checkpoints.push((Uuid::parse_str(id).expect("a UUID"), entries));
    }
    for (checkpoint, size) in &checkpoints {
        for offset in [0, 1, 2, size / 2, size - 1] {
            let proof = app.query(of(&format!("users-0-{offset}"), Some(*checkpoint))).await;
            assert!(included(&proof), "{proof}");
            assert_eq!(proof["entry"]["offset"], offset);
            let text = proof["checkpoint"]["text"].as_str().expect("a string");
            let root = proof["inclusion"]["root"].as_str().expect("a root");
            assert!(text.contains(&format!("users 0 {size} {root}\n")), "{text}");

            let (newest, whole) = checkpoints[2];
            let consistency = &proof["consistency"];
            if *checkpoint == newest {
                assert!(consistency.is_null());
            } else {
                assert_eq!(consistency["size"], whole);
                assert!(consistent(root, consistency), "{proof}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_an_entry_with_personal_fields_contains_no_personal_data() {
    let app = App::start().await;
    app.bench.deliver(create_user()).await;
    app.sign().await.expect("the log has grown");

    let proof = app.query(of("users.commands-0-0", None)).await;
    assert!(included(&proof), "{proof}");
    assert!(!proof.to_string().contains("ovelace"), "{proof}");
    let leaf: Json = serde_json::from_str(proof["leaf"].as_str().expect("a leaf")).expect("JSON");
    assert_eq!(leaf["kept"], false);
    assert_eq!(leaf["sha256"], proof["entry"]["sha256"]);
    assert_eq!(
        leaf["content_sha256"],
        hex(&Sha256::digest(r#"{"time_zone":"Europe/London"}"#))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_for_an_impossible_proof_is_rejected_with_a_code() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    assert_eq!(app.rejection(of("users-0-0", None)).await.0, "not-checkpointed");
    app.sign().await.expect("the log has grown");
    app.bench.deliver(signed_up(Uuid::now_v7())).await;

    assert_eq!(app.rejection(of("users-0-1", None)).await.0, "not-checkpointed");
    assert_eq!(app.rejection(of("users-0-2", None)).await.0, "entry-unknown");
    assert_eq!(
        app.rejection(of("users-0-0", Some(Uuid::now_v7()))).await.0,
        "checkpoint-unknown"
    );
    for id in ["", "users", "users-0-x", "users-0-01"] {
        assert_eq!(
            app.rejection(of(id, None)).await,
            ("invalid".to_owned(), vec!["entry_id".to_owned()])
        );
    }
}
