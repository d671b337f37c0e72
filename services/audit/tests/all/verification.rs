//! Tampering with the store is detected.

use audit::store;
use contracts::{ReadAuditLog, VerifyAuditLog};
use mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::app::{App, create_user, signed_up};

/// Starts a service whose log has several tiles, three checkpoints and an entry with personal fields.
async fn app() -> App {
    let app = App::start().await;
    for batch in [20, 30] {
        app.bench
            .deliver_all((0..batch).map(|_| signed_up(Uuid::now_v7())))
            .await;
        app.sign().await.expect("the log has grown");
    }
    app.bench.deliver(create_user()).await;
    app.sign().await.expect("the log has grown");
    app
}

fn kinds(findings: &[Json]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding["kind"].as_str().expect("a kind"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_log_is_valid() {
    let app = app().await;
    let result = app
        .query(VerifyAuditLog {
            topic: None,
            cursor: None,
        })
        .await;
    assert_eq!((&result["valid"], &result["findings"]), (&json!(true), &json!([])));
    assert_eq!(result["next_cursor"], Json::Null);
    assert_eq!(result["checked"]["checkpoints"], json!(3));
    assert!(result["checked"]["entries"].as_u64() > Some(50), "{result}");
    assert!(result["checked"]["tiles"].as_u64() >= Some(3), "{result}");

    let users = VerifyAuditLog {
        topic: Some("users".to_owned()),
        cursor: Some("checkpoints.2".to_owned()),
    };
    let rest = app.query(users).await;
    assert_eq!(
        (&rest["valid"], &rest["checked"]["checkpoints"]),
        (&json!(true), &json!(2))
    );

    let wrong = VerifyAuditLog {
        topic: Some("users.profiles".to_owned()),
        cursor: Some("leaves.users-0-0".to_owned()),
    };
    let expected = ("invalid".to_owned(), vec!["topic".to_owned(), "cursor".to_owned()]);
    assert_eq!(app.rejection(wrong).await, expected);
}

/// Returns a different value of the same type.
fn altered(value: &Bson) -> Bson {
    match value {
        Bson::String(text) => flipped(text).into(),
        Bson::Int32(number) => (number + 1).into(),
        Bson::Int64(number) => (number + 1).into(),
        Bson::DateTime(time) => mongodb::bson::DateTime::from_millis(time.timestamp_millis() + 1).into(),
        Bson::Binary(Binary { bytes, subtype }) => {
            let mut bytes = bytes.clone();
            match bytes.last_mut() {
                Some(byte) => *byte ^= 1,
                None => bytes.push(1),
            }
            Binary {
                subtype: *subtype,
                bytes,
            }
            .into()
        }
        Bson::Array(values) => match values.split_first() {
            Some((first, rest)) => [&[altered(first)], rest].concat().into(),
            None => vec![Bson::from(Binary {
                subtype: BinarySubtype::Generic,
                bytes: vec![1; 32],
            })]
            .into(),
        },
        other => panic!("no alteration of {other} is defined"),
    }
}

fn flipped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let last = bytes.last_mut().expect("a string");
    *last = if *last == b'1' { b'2' } else { b'1' };
    String::from_utf8(bytes).expect("ASCII")
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_with_any_stored_field_is_detected() {
    let app = app().await;
    let of_users = doc! { "topic": "users", "partition": 0 };
    let documents = [
        ("users", store::ENTRIES, doc! { "_id.topic": "users", "_id.offset": 16 }),
        ("users", store::ENTRIES, doc! { "_id.topic": "users", "_id.offset": 49 }),
        ("users.commands", store::ENTRIES, doc! { "_id.topic": "users.commands" }),
        ("users", store::TILES, doc! { "_id.topic": "users", "_id.index": 1 }),
        ("users", store::TREES, doc! { "_id": of_users }),
        ("users", store::CHECKPOINTS, doc! { "_id": 2 }),
    ];
    let mut tried = 0;
    for (topic, collection, filter) in documents {
        let documents = app.documents(collection);
        let original = documents
            .find_one(filter)
            .await
            .expect("documents can be read")
            .expect("the document exists");
        let id = original.get("_id").expect("an id").clone();
        for (field, value) in original.iter().filter(|(field, _)| *field != "_id") {
            for change in [
                doc! { "$set": { field: altered(value) } },
                doc! { "$unset": { field: "" } },
            ] {
                let by_id = doc! { "_id": id.clone() };
                documents
                    .update_one(by_id.clone(), change.clone())
                    .await
                    .expect("documents can be written");
                let findings = app.verify_topic(Some(topic)).await;
                assert!(!findings.is_empty(), "{collection} {change}");
                documents
                    .replace_one(by_id, original.clone())
                    .await
                    .expect("documents can be written");
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
    assert!(app.verify().await.is_empty(), "all documents are restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_adding_and_swapping_documents_is_detected() {
    let app = app().await;
    let entries = app.documents(store::ENTRIES);
    let of = |offset: i64| doc! { "_id": { "topic": "users", "partition": 0, "offset": offset } };
    let all = async || -> Vec<Document> {
        let mut all = Vec::new();
        for offset in 0..50 {
            all.push(
                entries
                    .find_one(of(offset))
                    .await
                    .expect("documents can be read")
                    .expect("the document exists"),
            );
        }
        all
    };
    let original = all().await;
    let restore = async || {
        for document in &original {
            let id = document.get_document("_id").expect("an id").clone();
            let replaced = entries
                .replace_one(doc! { "_id": id }, document.clone())
                .upsert(true)
                .await;
            replaced.expect("documents can be written");
        }
    };

    for offset in [0, 15, 16, 49] {
        entries.delete_one(of(offset)).await.expect("documents can be written");
        let findings = app.verify_topic(Some("users")).await;
        assert!(kinds(&findings).contains(&"missing-entry"), "{offset}: {findings:?}");
        restore().await;
    }
    let mut added = original[3].clone();
    added.insert("_id", doc! { "topic": "users", "partition": 0, "offset": 1_000_i64 });
    entries.insert_one(added).await.expect("documents can be written");
    assert!(!app.verify_topic(Some("users")).await.is_empty());
    entries.delete_one(of(1_000)).await.expect("documents can be written");

    let (mut one, mut other) = (original[4].clone(), original[5].clone());
    let (first, second) = (one.remove("_id"), other.remove("_id"));
    entries
        .update_one(doc! { "_id": first }, doc! { "$set": other })
        .await
        .expect("documents can be written");
    entries
        .update_one(doc! { "_id": second }, doc! { "$set": one })
        .await
        .expect("documents can be written");
    assert!(kinds(&app.verify_topic(Some("users")).await).contains(&"altered-entry"));
    restore().await;

    for (collection, filter, kind) in [
        (store::CHECKPOINTS, doc! { "_id": 2 }, "missing-checkpoint"),
        (store::CHECKPOINTS, doc! { "_id": 3 }, "missing-checkpoint"),
        (
            store::TILES,
            doc! { "_id.topic": "users", "_id.index": 0 },
            "missing-tile",
        ),
        (
            store::TREES,
            doc! { "_id": { "topic": "users", "partition": 0 } },
            "unlisted-entry",
        ),
    ] {
        let documents = app.documents(collection);
        let removed = documents
            .find_one_and_delete(filter)
            .await
            .expect("documents can be written")
            .expect("the document exists");
        let findings = app.verify_topic(Some("users")).await;
        assert!(kinds(&findings).contains(&kind), "{collection}: {findings:?}");
        documents.insert_one(removed).await.expect("documents can be written");
    }
    assert!(app.verify().await.is_empty(), "all documents are restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_pages_from_any_leaf() {
    let app = app().await;
    let query = |from, limit| ReadAuditLog {
        topic: "users".to_owned(),
        partition: 0,
        from,
        limit,
    };
    let (mut read, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let page = app.query(query(from, 7)).await;
        assert_eq!(page["size"], 50);
        read.extend(page["entries"].as_array().expect("a list").clone());
        next = page["next"].as_i64();
    }
    let indexes: Vec<_> = read.iter().filter_map(|entry| entry["index"].as_i64()).collect();
    assert_eq!(indexes, (0..50).collect::<Vec<_>>());
    assert!(
        read.iter()
            .all(|entry| entry["value"].is_string() && entry["content"].is_string())
    );
    let beyond_the_end = app.query(query(50, 7)).await;
    assert_eq!(
        (&beyond_the_end["entries"], &beyond_the_end["next"]),
        (&json!([]), &Json::Null)
    );

    let mut wrong = query(-1, 0);
    wrong.partition = 12;
    let fields = ["limit", "partition", "from"].map(str::to_owned).to_vec();
    assert_eq!(app.rejection(wrong).await, ("invalid".to_owned(), fields));
    // A missing entry is left out, which leaves a gap in the indexes.
    let missing = doc! { "_id": { "topic": "users", "partition": 0, "offset": 20_i64 } };
    app.documents(store::ENTRIES)
        .delete_one(missing)
        .await
        .expect("documents can be written");
    let page = app.query(query(20, 1)).await;
    assert_eq!((&page["entries"][0]["index"], &page["next"]), (&json!(21), &json!(22)));
}
