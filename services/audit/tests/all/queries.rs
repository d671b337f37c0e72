//! Queries to the log.

use std::time::Duration;

use contracts::{
    Actor, AuditQuery, CommandAccepted, Details, EventCreated, EventEvent, FindAuditEntries, Record as _, Reply,
    Timestamp, UserCreated,
};
use messaging::{MAX_VALUE_BYTES, Outgoing};
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, query, signed_up};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_their_searchable_fields() {
    let app = App::start().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let early = signed_up(ada).time(at("2026-03-01T12:00:00.000001Z"));
    let correlation_id = early.id;
    app.bench.deliver(early).await;
    app.bench
        .deliver(signed_up(bob).time(at("2026-03-01T12:00:00.000002Z")))
        .await;

    let of_ada = app
        .find_entries(FindAuditEntries {
            aggregate_id: Some(ada),
            ..query()
        })
        .await;
    let entry = &of_ada.entries[0];
    assert_eq!(of_ada.ids(), ["users-0-0"]);
    assert_eq!(entry["type"], json!(UserCreated::NAME));
    assert_eq!(entry["actor"], json!(Actor::User(ada).to_string()));
    assert_eq!(entry["time"], json!("2026-03-01T12:00:00.000001Z"));
    assert_eq!(entry["content"], json!({ "created_at": "1970-01-01T00:00:00Z" }));

    let until = Some(at("2026-03-01T12:00:00.000002Z"));
    let queries = [
        FindAuditEntries {
            correlation_id: Some(correlation_id),
            ..query()
        },
        FindAuditEntries {
            actor: Some(Actor::User(ada).to_string()),
            ..query()
        },
        FindAuditEntries { until, ..query() },
    ];
    for query in queries {
        assert_eq!(app.find_entries(query.clone()).await.ids(), ["users-0-0"], "{query:?}");
    }
    let of_type = FindAuditEntries {
        message_type: Some(UserCreated::NAME.to_owned()),
        ..query()
    };
    assert_eq!(
        app.find_entries(of_type.clone()).await.ids(),
        ["users-0-1", "users-0-0"],
        "newest first"
    );
    assert_eq!(
        app.find_entries(FindAuditEntries {
            from: until,
            ..of_type.clone()
        })
        .await
        .ids(),
        ["users-0-1"]
    );
    let both = FindAuditEntries {
        aggregate_id: Some(bob),
        actor: Some(Actor::User(ada).to_string()),
        ..query()
    };
    assert!(app.find_entries(both).await.entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_in_the_log_when_it_is_handled() {
    let app = App::start().await;
    let page = app.find_entries(query()).await;
    assert_eq!(page.ids(), ["audit.queries-0-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_contain_every_entry_once_when_more_are_recorded_meanwhile() {
    let app = App::start().await;
    let bench = app.bench;
    let app = App {
        bench: bench.partitions(3),
        database: app.database,
    };
    let same_moment = at("2026-03-01T12:00:00Z");
    let users = || (0..25).map(|_| signed_up(Uuid::now_v7()).time(same_moment));
    app.bench.deliver_all(users()).await;
    let pick = FindAuditEntries {
        message_type: Some(UserCreated::NAME.to_owned()),
        limit: 10,
        ..query()
    };

    let mut seen = Vec::new();
    let mut page = app.find_entries(pick.clone()).await;
    loop {
        seen.extend(page.ids().into_iter().map(str::to_owned));
        let later = same_moment + Duration::from_secs(1);
        app.bench.deliver(signed_up(Uuid::now_v7()).time(later)).await;
        let Some(cursor) = page.next.take() else { break };
        page = app
            .find_entries(FindAuditEntries {
                cursor: Some(cursor),
                ..pick.clone()
            })
            .await;
    }

    assert_eq!(seen.len(), 25);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25, "each entry is listed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_fits_into_a_message_and_the_rest_is_on_the_next_page() {
    let app = App::start().await;
    let large = |event: Uuid| {
        let details = Details {
            organizer_id: event,
            title: "Ball".to_owned(),
            description: "\"x\"".repeat(15_000),
            venue: "Royal Institution".to_owned(),
            starts_at: Timestamp::EPOCH,
            ends_at: Timestamp::EPOCH,
            time_zone: "UTC".to_owned(),
            capacity: 1,
            registration_closes_at: Timestamp::EPOCH,
            waiting_list: false,
            registration_opens_at: None,
            staff: Vec::new(),
        };
        Outgoing::<EventEvent>::new(event, EventCreated { details })
    };
    app.bench.deliver_all((0..40).map(|_| large(Uuid::now_v7()))).await;
    let pick = FindAuditEntries {
        message_type: Some(EventCreated::NAME.to_owned()),
        ..query()
    };

    let (mut pages, mut entries) = (0, 0);
    let mut cursor = None;
    loop {
        let page = app.find_entries(FindAuditEntries { cursor, ..pick.clone() }).await;
        assert!(page.size <= MAX_VALUE_BYTES, "{}", page.size);
        pages += 1;
        entries += page.entries.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(entries, 40);
    assert!(pages > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_only_the_hash_of_its_own_replies() {
    let app = App::start().await;
    app.bench.deliver(signed_up(Uuid::now_v7())).await;
    app.find_entries(query()).await;
    app.bench.settle().await;

    let entries = app.entries().await;
    let reply = entries
        .iter()
        .find(|entry| entry.position.topic == "gateway.replies")
        .expect("the reply is recorded");
    assert_eq!(reply.type_name.as_deref(), Some(CommandAccepted::NAME));
    let content = reply.content.as_deref().expect("content");
    assert!(
        content.contains("result_sha256") && !content.contains("entries"),
        "{content}"
    );
    assert!(reply.value.is_none() && reply.sha256.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_query_is_rejected_with_its_invalid_fields() {
    let app = App::start().await;
    let wrong = FindAuditEntries {
        limit: 0,
        cursor: Some("here".to_owned()),
        ..query()
    };
    let message = Outgoing::<AuditQuery>::new(Uuid::now_v7(), wrong);
    let Reply::CommandRejected(rejected) = app.bench.request(message).await else {
        panic!("the query must be rejected");
    };
    assert_eq!(rejected.code, "invalid");
    let fields: Vec<_> = rejected.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["limit", "cursor"]);
}
