//! Records and schemas of third parties. The log records all of them.

use audit::entry::{Entry, OMITTED, STUB};
use audit::finding::FindingKind;
use messaging::{Record, header};
use mongodb::bson::{Document, doc};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::{App, deactivated, hex, signed_up};

const UNEXPECTED: &str = "rollcall_unexpected_store_errors_total";
const STUBS: &str = "rollcall_stubs_total";

/// Returns a record of `users` whose value has a schema that a third party registered.
fn third_party(app: &App, id: i32, field: Json, datum: &[u8]) -> Record {
    let schema = json!({
        "type": "record", "namespace": "elsewhere", "name": "Foreign", "fields": [{ "name": "field", "type": field }],
    });
    app.bench
        .codec()
        .learn(id, &schema.to_string())
        .expect("the schema is within the limits");
    let mut record = app.bench.record(signed_up(Uuid::now_v7()));
    record.headers.set(header::TYPE, "elsewhere.Foreign");
    record.value = Some([&[0][..], &id.to_be_bytes(), datum].concat().into());
    record
}

/// Asserts that the next record is recorded with its content, and that the log is valid.
async fn assert_recording_continues(app: &App, entries: usize) -> Vec<Entry> {
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    let all = app.entries().await;
    assert_eq!(all.len(), entries + 1);
    assert!(all[entries].content.is_some());
    app.sign().await.expect("the log has grown");
    assert_eq!(app.verify_topic(Some("users")).await, Vec::<Json>::new());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_decode_to_huge_values_are_recorded_without_content() {
    let app = App::start().await;
    let tree = json!({ "type": "record", "name": "Tree", "fields": [{ "name": "next", "type": ["null", "Tree"] }] });
    let nulls = json!({ "type": "array", "items": "null" });
    let nulls_of_nulls = json!({ "type": "array", "items": nulls });
    // Zig-zag encoded: 2,000,000 nulls, and 1,000 arrays of 10,000 nulls.
    let many = [0x80, 0x92, 0xf4, 0x01, 0];
    let nested = [&[0xd0, 0x0f][..], &[0xa0, 0x9c, 0x01, 0].repeat(1_000), &[0]].concat();
    let records = [
        third_party(&app, 1_001, tree, &[2; 400]),
        third_party(&app, 1_002, nulls, &many),
        third_party(&app, 1_003, nulls_of_nulls, &nested),
    ];
    app.bench.deliver_records(records.to_vec()).await;

    let entries = assert_recording_continues(&app, records.len()).await;
    for (entry, record) in entries.iter().zip(&records) {
        let value = record.value.as_deref().expect("a value");
        assert_eq!(entry.content, None);
        assert_eq!(
            entry.sha256.clone().map(|hash| hash.bytes),
            Some(Sha256::digest(value).to_vec())
        );
        assert_eq!(entry.value.clone().map(|kept| kept.bytes), Some(value.to_vec()));
        assert_eq!(entry.headers, record.headers);
    }
    assert_eq!(app.findings().await, [FindingKind::Undecodable; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_record_within_the_limits_is_recorded_with_its_content() {
    let app = App::start().await;
    let tree = json!({ "type": "record", "name": "Tree", "fields": [{ "name": "next", "type": ["null", "Tree"] }] });
    let datum = [vec![2; 62], vec![0]].concat();
    app.bench
        .deliver_records(vec![third_party(&app, 1_001, tree, &datum)])
        .await;

    let entries = assert_recording_continues(&app, 1).await;
    let content = entries[0].content.as_deref().expect("the value is decoded");
    assert_eq!(content.matches("next").count(), 63);
    assert!(app.findings().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_envelopes_are_recorded_and_large_ones_without_unknown_headers() {
    let app = App::start().await;
    let plain = || app.bench.record(signed_up(Uuid::now_v7()));
    let mut invalid = plain();
    for name in [
        header::ID,
        header::TIME,
        header::SEQUENCE,
        header::ACTOR,
        header::CORRELATION_ID,
    ] {
        invalid.headers.set(name, "\0\u{ffff}$where");
    }
    for name in ["", "", "$where", "a.b", "_id", "\0"] {
        invalid.headers.0.push((name.to_owned(), "\0".to_owned()));
    }
    invalid.key = Some(vec![0xff, 0].into());
    let mut headers = plain();
    headers
        .headers
        .0
        .extend((0..10_000).map(|index| (format!("x-{index}"), "\0".to_owned())));
    let mut key = plain();
    key.key = Some(vec![0xff; 17 * 1024 * 1024].into());
    let mut value = plain();
    value.value = Some(vec![0xff; 17 * 1024 * 1024].into());
    let records = [invalid, headers, key, value];
    app.bench.deliver_records(records.to_vec()).await;

    let entries = assert_recording_continues(&app, records.len()).await;
    assert_eq!(entries[0].headers, records[0].headers);
    // Consumers handle the second record, because its envelope is valid. Its sender must not decide what is kept of it.
    for (entry, record) in entries[1..3].iter().zip(&records[1..3]) {
        let value = record.value.as_deref();
        assert_eq!(entry.value.as_ref().map(|kept| kept.bytes.as_slice()), value);
        assert!(entry.content.is_some() && entry.type_name.is_some() && entry.actor.is_some());
        assert_eq!(
            entry.message_id.map(|id| mongo::from_bson(id).to_string()).as_deref(),
            record.headers.get(header::ID)
        );
        let known = entry.headers.0.len() - 1;
        assert!(
            entry.headers.0[..known]
                .iter()
                .all(|header| record.headers.0.contains(header))
        );
        let (name, text) = &entry.headers.0[known];
        assert_eq!(name, OMITTED);
        let hash = hex(&Sha256::digest(record.headers.to_json()));
        assert!(
            text.contains(&hash) && text.contains(&format!("{} headers", record.headers.0.len())),
            "{text}"
        );
    }
    assert!(entries[1].key.is_some() && entries[1].sequence.is_some());
    assert!(entries[2].noncanonical_key.is_none());
    assert_eq!((&entries[3].value, entries[3].sha256.is_some()), (&None, true));
    assert_eq!(entries[3].headers, records[3].headers);
    assert_eq!((app.bench.counted(STUBS), app.bench.counted(UNEXPECTED)), (2.0, 0.0));
    let mut findings = app.findings().await;
    findings.sort_unstable();
    findings.dedup();
    let expected = [
        FindingKind::Unnumbered,
        FindingKind::Undecodable,
        FindingKind::MalformedEnvelope,
        FindingKind::Refused,
    ];
    assert_eq!(findings, expected);
    // Reduced entries are proved and exported like every other entry.
    let read = app
        .query(contracts::ReadAuditLog {
            topic: "users".to_owned(),
            partition: 0,
            from: 0,
            limit: 100,
        })
        .await;
    let leaves = read["entries"].as_array().expect("a list");
    assert!(leaves.iter().all(|entry| entry["leaf"].is_string()), "{leaves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_record_cannot_make_it_a_stub() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    let names = [STUB, OMITTED];
    let mut records = Vec::new();
    for (name, sequence) in names.into_iter().zip([3, 5]) {
        let mut record = app.bench.record(deactivated(ada).sequence(sequence));
        record
            .headers
            .0
            .insert(0, (name.to_owned(), "nothing to see".to_owned()));
        record.headers.0.push((name.to_owned(), "at all".to_owned()));
        records.push(record);
    }
    let mut bare = app.bench.record(deactivated(ada).sequence(6));
    bare.headers.0 = vec![(STUB.to_owned(), String::new())];
    records.push(bare);
    app.bench.deliver_records(records.clone()).await;

    let entries = assert_recording_continues(&app, records.len()).await;
    for (entry, record) in entries.iter().zip(&records) {
        assert!(entry.content.is_some() && entry.value.is_some());
        assert_eq!(entry.headers.0.len(), record.headers.0.len());
        let reserved = entry.headers.0.iter().any(|(name, _)| names.contains(&name.as_str()));
        assert!(!reserved, "{:?}", entry.headers);
    }
    // Their sequence numbers are tracked: 1 and 2 are missing, then 4; the last record has no number.
    let mut findings = app.findings().await;
    findings.sort_unstable();
    let expected = [
        FindingKind::Gap,
        FindingKind::Gap,
        FindingKind::Unnumbered,
        FindingKind::MalformedEnvelope,
        FindingKind::MalformedEnvelope,
        FindingKind::MalformedEnvelope,
    ];
    assert_eq!(findings, expected);
    assert_eq!(app.bench.counted(STUBS), 0.0);

    // When they are delivered again, they are recognized as the same records.
    let before = app.entries().await;
    app.delete_positions().await;
    app.bench.restart();
    app.bench.catch_up().await;
    assert_eq!(app.entries().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_meets_an_unreadable_entry_is_rejected_and_the_next_one_is_handled() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    let change = doc! { "$set": { "time": "yesterday", "timestamp": "then" } };
    let entries = app.documents(audit::store::ENTRIES);
    entries
        .update_many(doc! { "_id.topic": "users" }, change)
        .await
        .expect("entries can be changed");
    let read = contracts::ReadAuditLog {
        topic: "users".to_owned(),
        partition: 0,
        from: 0,
        limit: 100,
    };
    assert_eq!(app.rejection(read).await.0, "log-damaged");
    assert_eq!(app.rejection(crate::app::query()).await.0, "log-damaged");
    let other = contracts::ReadAuditLog {
        topic: "audit.queries".to_owned(),
        partition: 0,
        from: 0,
        limit: 1,
    };
    assert!(app.query(other).await["entries"].is_array());
}

/// Makes the store reject all entries from now on, except those that match a filter.
async fn accept_only(app: &App, filter: Document) {
    let database = app.database.ledger().database().clone();
    let change = doc! { "collMod": "entries", "validator": filter };
    database
        .run_command(change)
        .await
        .expect("the collection can be changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_store_rejects_is_recorded_as_a_stub() {
    let app = App::start().await;
    let ada = Uuid::now_v7();
    accept_only(&app, doc! { "type": { "$ne": "rollcall.users.UserDeactivated" } }).await;
    let refused = app.bench.record(deactivated(ada).sequence(1));
    app.bench
        .deliver_records(vec![refused.clone(), app.bench.record(signed_up(Uuid::now_v7()))])
        .await;

    let entries = assert_recording_continues(&app, 2).await;
    let value = refused.value.as_deref().expect("a value");
    let hash = Sha256::digest(value);
    assert_eq!(entries[0].sha256.clone().map(|hash| hash.bytes), Some(hash.to_vec()));
    assert_eq!(entries[0].key.map(mongo::from_bson), Some(ada));
    let [(name, text)] = entries[0].headers.0.as_slice() else {
        panic!("{:?}", entries[0].headers)
    };
    assert_eq!(name, STUB);
    assert!(
        text.contains(&format!("{} bytes", value.len())) && text.contains(&hex(&hash)),
        "{text}"
    );
    assert!(text.contains("MongoDB returned error 121"), "{text}");
    assert!(entries[1].content.is_some());
    assert_eq!(app.findings().await, [FindingKind::Refused]);
    assert_eq!((app.bench.counted(STUBS), app.bench.counted(UNEXPECTED)), (1.0, 0.0));

    // When it is delivered again, it is recognized as the same record.
    let before = app.entries().await;
    app.delete_positions().await;
    app.bench.restart();
    app.bench.catch_up().await;
    assert_eq!(app.entries().await, before);
    assert_eq!(app.findings().await, [FindingKind::Refused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_waits_with_an_alarm_when_the_store_rejects_even_stubs() {
    let app = App::start().await;
    accept_only(&app, doc! { "type": "nothing" }).await;
    let fix = async {
        testing::eventually("the alert is raised", std::time::Duration::from_secs(20), || async {
            (app.bench.counted(UNEXPECTED) > 0.0).then_some(())
        })
        .await;
        accept_only(&app, doc! {}).await;
    };
    tokio::join!(app.bench.deliver(signed_up(Uuid::now_v7())), fix);
    assert_eq!(app.entries().await.len(), 1);
    assert_recording_continues(&app, 1).await;
}
