//! Delivery certificates: their content, and when they are published.

use std::time::Duration;

use audit::Certifier;
use contracts::{AuditFact, DeliveryCertified, FindCertificates, Timestamp};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::app::{App, deactivated, signed_up};

const MINUTE: Duration = Duration::from_secs(60);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(&format!("2026-03-01T{text}Z")).expect("a time")
}

fn certifier(app: &App) -> Certifier {
    Certifier {
        ledger: app.database.ledger(),
        publisher: app.bench.publisher(),
    }
}

async fn certify(app: &App, now: Timestamp) {
    certifier(app).certify(now).await.expect("the hours can be certified");
}

async fn published(app: &App) -> Vec<DeliveryCertified> {
    let facts: Vec<AuditFact> = app.bench.published().await;
    let certified = facts.into_iter().map(|fact| match fact {
        AuditFact::DeliveryCertified(certified) => certified,
        AuditFact::CheckpointSigned(signed) => panic!("{signed:?}"),
    });
    certified.collect()
}

async fn certificates(app: &App) -> Vec<Json> {
    let mut found = app
        .query(FindCertificates {
            cursor: None,
            limit: 200,
        })
        .await;
    found["certificates"]
        .as_array_mut()
        .map(std::mem::take)
        .expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_certified_exactly_once_a_few_minutes_after_its_end() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    app.bench.deliver(signed_up(ada).time(at("12:59:59"))).await;
    app.bench.deliver(deactivated(ada).time(at("13:00:00"))).await;

    certify(&app, at("13:04:59")).await;
    assert!(
        published(&app).await.is_empty(),
        "some records of the hour may still be in flight"
    );
    certify(&app, at("13:05:00")).await;
    certify(&app, at("13:59:00")).await;
    let certified = published(&app).await;
    assert_eq!(certified.len(), 1);
    let [hour] = &certified[..] else {
        panic!("{certified:?}");
    };
    assert_eq!(
        (hour.from, hour.until, hour.complete),
        (at("12:00:00"), at("13:00:00"), true)
    );
    let topic = &hour.topics[0];
    assert_eq!(
        (topic.topic.as_str(), topic.producer.as_str()),
        ("users", "/rollcall/user")
    );
    assert_eq!((topic.messages, topic.keys, topic.missing), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_past_hours_with_domain_events_are_certified_after_downtime() {
    let app = App::start().await;
    for time in ["02:30:00", "03:10:00", "09:00:00"] {
        app.bench.deliver(signed_up(Uuid::now_v7()).time(at(time))).await;
    }
    let (one, other) = (certifier(&app), certifier(&app));
    let now = at("10:30:00");
    let _ = tokio::join!(one.certify(now), other.certify(now));
    certify(&app, now).await;

    let hours: Vec<_> = published(&app).await.into_iter().map(|hour| hour.from).collect();
    assert_eq!(hours, [at("02:00:00"), at("03:00:00"), at("09:00:00")]);

    let all = certificates(&app).await;
    let page = app.query(FindCertificates { cursor: None, limit: 2 }).await;
    assert_eq!(page["certificates"], json!(all[..2]));
    let cursor = page["next_cursor"].as_str().map(str::to_owned);
    let next = app.query(FindCertificates { cursor, limit: 2 }).await;
    assert_eq!(
        (&next["certificates"], &next["next_cursor"]),
        (&json!(all[2..]), &Json::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_certified_again_when_its_gap_is_filled() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    app.bench.deliver(signed_up(ada).sequence(1).time(at("12:10:00"))).await;
    app.bench
        .deliver(deactivated(ada).sequence(4).time(at("12:20:00")))
        .await;
    certify(&app, at("13:05:00")).await;

    let first = published(&app).await.remove(0);
    assert!(!first.complete);
    assert_eq!((first.topics[0].messages, first.topics[0].missing), (2, 2));
    assert_eq!(first.topics[0].examples, [format!("{ada}: 2-3")]);

    // The sequence numbers are still missing in the next hour, but the gap belongs to the previous hour.
    app.bench
        .deliver(deactivated(ada).sequence(5).time(at("13:10:00")))
        .await;
    certify(&app, at("14:05:00")).await;
    let second = published(&app).await;
    assert_eq!(second.len(), 1);
    assert!(second[0].complete, "no number of this hour is missing");

    for sequence in [3, 2] {
        app.bench
            .deliver(deactivated(ada).sequence(sequence).time(at("12:15:00")))
            .await;
    }
    certify(&app, at("15:05:00")).await;
    certify(&app, at("16:05:00") + MINUTE).await;
    let again = published(&app).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].from, again[0].complete), (at("12:00:00"), true));
    assert_eq!(again[0].topics[0].messages, 4);
    let revisions: Vec<_> = certificates(&app)
        .await
        .iter()
        .map(|one| one["revision"].clone())
        .collect();
    assert_eq!(revisions, [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_with_many_incomplete_keys_is_certified() {
    // More than one chunk of keys.
    const KEYS: usize = 1_200;
    let app = App::start().await;
    let events: Vec<_> = (0..KEYS)
        .flat_map(|_| {
            let key = Uuid::now_v7();
            // Number 2 is missing; number 4 is missing in the next hour.
            [(1, "12:10:00"), (3, "12:20:00"), (5, "13:10:00")]
                .map(|(number, time)| deactivated(key).sequence(number).time(at(time)))
        })
        .collect();
    app.bench.deliver_all(events).await;
    let complete = Uuid::now_v7();
    app.bench.deliver(signed_up(complete).time(at("12:30:00"))).await;
    certify(&app, at("14:05:00")).await;

    let certified = published(&app).await;
    let counts: Vec<_> = certified
        .iter()
        .map(|hour| {
            let topic = &hour.topics[0];
            (
                hour.complete,
                topic.messages,
                topic.keys,
                topic.missing,
                topic.examples.len(),
            )
        })
        .collect();
    let keys = i64::try_from(KEYS).expect("a small number");
    assert_eq!(
        counts,
        [(false, 2 * keys + 1, keys + 1, keys, 10), (false, keys, keys, keys, 10)]
    );
}
