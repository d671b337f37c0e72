//! Checkpoints: when they are signed, by which process, and their content.

use std::collections::BTreeSet;
use std::time::Duration;

use audit::{Signer, store};
use chassis::settings::{Secret, Value as _};
use contracts::{AuditFact, CheckpointSigned, FindCheckpoints, Timestamp, topics};
use mongodb::bson::doc;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::app::{App, signed_up};

const MINUTE: Duration = Duration::from_secs(60);

async fn checkpoints(app: &App) -> Vec<Json> {
    let mut found = app
        .query(FindCheckpoints {
            cursor: None,
            limit: 200,
        })
        .await;
    found["checkpoints"].as_array_mut().map(std::mem::take).expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_signs_all_heads_and_is_published_once() {
    let app = App::start().await;
    assert_eq!(app.sign().await, None, "the log is empty");
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    app.bench.deliver_again().await;
    assert_eq!(app.sign().await, Some(1));

    let facts: Vec<AuditFact> = app.bench.published().await;
    let [AuditFact::CheckpointSigned(fact)] = &facts[..] else {
        panic!("{facts:?}");
    };
    let heads: Vec<_> = fact.heads.iter().map(|head| (head.topic.as_str(), head.size)).collect();
    assert_eq!(heads, [("users", 2)]);
    assert_eq!(
        (fact.number, fact.previous, fact.previous_hash.as_deref()),
        (1, None, None)
    );

    let shown = &checkpoints(&app).await[0];
    assert_eq!(shown["id"], json!(fact.checkpoint_id));
    assert_eq!(shown["signature"], json!(fact.signature));
    assert_eq!(
        shown["heads"],
        json!([{ "topic": "users", "partition": 0, "size": 2, "root": fact.heads[0].root }])
    );
    assert!(
        shown["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("rollcall audit checkpoint 1\nnumber 1\n"))
    );
    assert!(app.verify().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_checkpoint_is_signed_when_only_the_last_checkpoint_was_recorded() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    assert_eq!(app.sign().await, Some(1));
    // The first checkpoint is recorded by now, on the topic `audit`.
    assert_eq!(app.sign().await, None);
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    assert_eq!(app.sign().await, Some(2));

    let facts: Vec<AuditFact> = app.bench.published().await;
    let numbers: Vec<_> = facts.iter().map(number).collect();
    assert_eq!(numbers, [1, 2]);
    let AuditFact::CheckpointSigned(CheckpointSigned { heads, previous, .. }) = &facts[1] else {
        panic!("{facts:?}");
    };
    assert!(
        heads.iter().any(|head| head.topic == topics::AUDIT.name),
        "the head of `audit` is signed too"
    );
    assert!(previous.is_some());
}

fn number(fact: &AuditFact) -> i64 {
    match fact {
        AuditFact::CheckpointSigned(signed) => signed.number,
        AuditFact::DeliveryCertified(_) => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_form_a_chain_and_are_listed_newest_first() {
    let app = App::start().await;
    for _ in 0..5 {
        app.bench.deliver(signed_up(Uuid::now_v7())).await;
        app.sign().await.expect("the log has grown");
    }
    let all = checkpoints(&app).await;
    let numbers: Vec<_> = all.iter().map(|one| one["number"].as_i64()).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1].map(Some));
    for pair in all.windows(2) {
        assert_eq!(pair[0]["previous_hash"], pair[1]["hash"]);
    }

    let page = app.query(FindCheckpoints { cursor: None, limit: 2 }).await;
    let cursor = page["next_cursor"].as_str().map(str::to_owned);
    let next = app.query(FindCheckpoints { cursor, limit: 2 }).await;
    assert_eq!(next["checkpoints"], json!(all[2..4]));
    let wrong = FindCheckpoints {
        cursor: Some("x".to_owned()),
        limit: 0,
    };
    let expected = ("invalid".to_owned(), vec!["limit".to_owned(), "cursor".to_owned()]);
    assert_eq!(app.rejection(wrong).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_sign_two_checkpoints_with_one_number() {
    let app = App::start().await;
    for round in 1..=5 {
        app.bench.deliver(signed_up(Uuid::now_v7())).await;
        let (one, other) = (app.notary(Duration::ZERO).await, app.notary(Duration::ZERO).await);
        let now = Timestamp::now();
        let signed = tokio::join!(one.sign(now), other.sign(now));
        // The second process found no change, or its transaction conflicted.
        let signed = [signed.0, signed.1];
        assert_eq!(
            signed.iter().filter(|one| matches!(one, Ok(Some(_)))).count(),
            1,
            "{signed:?}"
        );
        let stored = app.documents(store::CHECKPOINTS).count_documents(doc! {}).await;
        assert_eq!(stored.expect("documents can be counted"), round);
        app.bench.settle().await;
    }
    let facts: Vec<AuditFact> = app.bench.published().await;
    let numbers: BTreeSet<_> = facts.iter().map(number).collect();
    assert_eq!((facts.len(), numbers.len()), (5, 5), "each is published once");
    assert!(app.verify().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_checkpoint_is_due_after_the_configured_interval() {
    let app = App::start().await;
    let notary = app.notary(MINUTE).await;
    let now = Timestamp::now();
    let sign = async |after: u64| {
        app.bench.deliver(signed_up(Uuid::now_v7())).await;
        let time = now + Duration::from_secs(after);
        notary.sign(time).await.expect("the checkpoint can be signed")
    };
    assert_eq!(sign(0).await, Some(1));
    assert_eq!(sign(59).await, None);
    assert_eq!(sign(60).await, Some(2));
    assert_eq!(sign(61).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_key_signs_in_place_of_the_shared_one() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n\
                       -----END PRIVATE KEY-----";
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    app.sign().await.expect("the log has grown");

    let secret = |text| Secret::parse("AUDIT_SIGNING_KEY", text).expect("any text is a secret");
    let ledger = app.database.ledger();
    let mut notary = app.notary(Duration::ZERO).await;
    notary.signer = Signer::load(Some(&secret(KEY)), &ledger).await.expect("a valid key");
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    notary
        .sign(Timestamp::now())
        .await
        .expect("the checkpoint can be signed");
    assert!(Signer::load(Some(&secret("no key")), &ledger).await.is_err());

    let signed = checkpoints(&app).await;
    // The first test vector of RFC 8032.
    assert_eq!(
        signed[0]["public_key"],
        json!("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    );
    assert_ne!(signed[0]["key_id"], signed[1]["key_id"]);
    assert!(app.verify().await.is_empty());
}
