//! The list of events: filters, pages, and the use of indexes.

use std::time::Duration;

use contracts::{
    Details, EventCancelled, EventChanged, EventEnded, EventEvent, RegistrationEvent, SeatConfirmed, Timestamp,
};
use gateway::roles::Role;
use messaging::Outgoing;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use testing::eventually;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::app::{Gateway, Person, TestApp, event_created, event_published, roster_opened, uuid};

impl TestApp {
    /// Creates a published event with this title that starts on this day of March 2098.
    async fn has_titled(&self, organizer: Uuid, title: &str, day: u32) -> Uuid {
        let event = Uuid::now_v7();
        let starts_at = Timestamp::parse(&format!("2098-03-{day:02}T18:00:00Z")).expect("a time");
        let details = Details {
            title: title.to_owned(),
            starts_at,
            ..event_created(organizer).details
        };
        let facts: [EventEvent; 3] = [
            event_created(organizer).into(),
            event_published(organizer).into(),
            EventChanged {
                details,
                published: true,
            }
            .into(),
        ];
        let facts = facts.map(|fact| Outgoing::<EventEvent>::new(event, fact));
        self.bench.deliver_all(facts).await;
        event
    }

    async fn titles(&self, query: &str, by: Option<&Person>) -> Vec<String> {
        let call = self.gateway.get(format!("/v1/events?{query}"));
        let call = match by {
            Some(by) => call.by(by),
            None => call,
        };
        titles(&call.send().await.expect(200).body)
    }
}

#[tokio::test]
async fn a_page_of_long_events_is_bounded_and_pages_contain_all_events() {
    let app = TestApp::start().await;
    let organizer = app.organizer("ada").await;
    for day in 1..=9 {
        let event = app.has_titled(organizer.id, &format!("Day {day}"), day).await;
        let details = Details {
            description: "\u{5b57}".repeat(20_000),
            title: format!("Day {day}"),
            starts_at: Timestamp::parse(&format!("2098-03-{day:02}T18:00:00Z")).expect("a time"),
            ..event_created(organizer.id).details
        };
        let changed = EventChanged {
            details,
            published: true,
        };
        app.bench.deliver(Outgoing::<EventEvent>::new(event, changed)).await;
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let query = format!("/v1/events?limit=200{cursor}");
        let page = app.gateway.get(query).send().await.expect(200).body;
        let bytes = page.to_string().len();
        assert!(bytes < 200 * 1024, "{bytes} bytes");
        found.extend(titles(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, (1..=9).map(|day| format!("Day {day}")).collect::<Vec<_>>());
}

fn titles(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items
        .iter()
        .map(|event| event["title"].as_str().expect("a title").to_owned())
        .collect()
}

#[tokio::test]
async fn events_are_found_by_words_time_organizer_and_seats() {
    let app = TestApp::start().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    app.has_titled(ada, "Looms and Cards", 1).await;
    let full = app.has_titled(ada, "Steam Looms", 2).await;
    app.has_titled(bob, "Müller’s Räder", 3).await;
    let seats: Vec<RegistrationEvent> = vec![
        roster_opened(ada).into(),
        SeatConfirmed {
            registration_id: Uuid::now_v7(),
            user_id: bob,
        }
        .into(),
        SeatConfirmed {
            registration_id: Uuid::now_v7(),
            user_id: ada,
        }
        .into(),
    ];
    let message = |fact| Outgoing::<RegistrationEvent>::new(full, fact);
    app.bench.deliver_all(seats.into_iter().map(message)).await;

    for (query, found) in [
        ("", &["Looms and Cards", "Steam Looms", "Müller’s Räder"][..]),
        ("text=LOOMS", &["Looms and Cards", "Steam Looms"]),
        ("text=and%20looms", &["Looms and Cards"]),
        ("text=looms%20-steam", &["Looms and Cards"]),
        ("text=%22steam%20looms%22", &["Steam Looms"]),
        ("text=r%C3%A4der", &["Müller’s Räder"]),
        // Words of the description and of the venue.
        ("text=punched&limit=1", &["Looms and Cards"]),
        ("text=somerset&from=2098-03-03T00:00:00Z", &["Müller’s Räder"]),
        ("text=nothing", &[]),
        ("text=%27%3B%20DROP%20TABLE%20events%3B--", &[]),
        ("text=!!!", &[]),
        ("from=2098-03-02T18:00:00Z&until=2098-03-03T18:00:00Z", &["Steam Looms"]),
        (&format!("organizer={ada}"), &["Looms and Cards", "Steam Looms"]),
        (&format!("organizer={ada}&has_seats=true"), &["Looms and Cards"]),
        ("has_seats=false", &["Steam Looms"]),
        ("status=cancelled", &[]),
    ] {
        assert_eq!(app.titles(query, None).await, found, "{query}");
    }
}

#[tokio::test]
async fn a_status_filter_shows_only_visible_events() {
    let app = TestApp::start().await;
    let (ada, eve, root) = (
        app.organizer("ada").await,
        app.organizer("eve").await,
        app.person("root").await,
    );
    app.grant(&root, Role::Admin).await;
    app.has_draft(&ada).await;
    // One event is cancelled as a draft, the other after its publication.
    let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("a time");
    let cancelled = EventCancelled {
        reason: String::new(),
        cancelled_at: at,
    };
    for public in [false, true] {
        let event = Uuid::now_v7();
        let mut facts: Vec<EventEvent> = vec![event_created(ada.id).into()];
        facts.extend(public.then(|| event_published(ada.id).into()));
        facts.push(cancelled.clone().into());
        app.bench
            .deliver_all(facts.into_iter().map(|fact| Outgoing::<EventEvent>::new(event, fact)))
            .await;
    }
    let ended: [EventEvent; 3] = [
        event_created(ada.id).into(),
        event_published(ada.id).into(),
        EventEnded { ended_at: at }.into(),
    ];
    let event = Uuid::now_v7();
    app.bench
        .deliver_all(ended.map(|fact| Outgoing::<EventEvent>::new(event, fact)))
        .await;
    for (status, anyone, organizer, admin) in [
        ("draft", 0, 1, 1),
        ("published", 0, 0, 0),
        ("cancelled", 1, 2, 2),
        ("ended", 1, 1, 1),
    ] {
        let query = format!("status={status}");
        assert_eq!(app.titles(&query, None).await.len(), anyone, "{query}");
        assert_eq!(app.titles(&query, Some(&eve)).await.len(), anyone, "{query}");
        assert_eq!(app.titles(&query, Some(&ada)).await.len(), organizer, "{query}");
        assert_eq!(app.titles(&query, Some(&root)).await.len(), admin, "{query}");
    }
}

#[tokio::test]
async fn an_invalid_search_returns_field_errors() {
    let app = TestApp::start().await;
    for (query, field_error) in [
        ("text=", ("text", "out-of-range")),
        (&*format!("text={}", "x".repeat(201)), ("text", "out-of-range")),
        ("text=a%00b", ("text", "malformed")),
        ("from=tomorrow", ("from", "malformed")),
        ("organizer=7", ("organizer", "malformed")),
        ("status=lovely", ("status", "malformed")),
        ("has_seats=maybe", ("has_seats", "malformed")),
        ("limit=0", ("limit", "out-of-range")),
        ("limit=201", ("limit", "out-of-range")),
        ("limit=1&limit=2", ("limit", "duplicate")),
        ("cursor=x", ("cursor", "malformed")),
    ] {
        let response = app.gateway.get(format!("/v1/events?{query}")).send().await.expect(422);
        assert_eq!(response.field_errors(), [field_error], "{query}");
    }
}

#[tokio::test]
async fn a_cursor_stays_valid_during_writes_and_only_for_its_search() {
    let app = TestApp::start().await;
    let ada = Uuid::now_v7();
    for day in [2, 4, 6, 8] {
        app.has_titled(ada, &format!("day {day}"), day).await;
    }
    let first = app.gateway.get("/v1/events?limit=2&text=day").send().await.expect(200);
    assert_eq!(titles(&first.body), ["day 2", "day 4"]);
    // Meanwhile, one event is added before, at and after the position of the cursor each, and the last event of the page
    // is cancelled.
    for day in [1, 4, 5] {
        app.has_titled(ada, &format!("late day {day}"), day).await;
    }
    let cancelled = EventCancelled {
        reason: String::new(),
        cancelled_at: Timestamp::EPOCH,
    };
    let last = uuid(&first.body["items"][1]["id"]);
    app.bench.deliver(Outgoing::<EventEvent>::new(last, cancelled)).await;
    let next = first.body["next"].as_str().expect("a cursor");
    let rest = app
        .gateway
        .get(format!("/v1/events?text=day&cursor={next}"))
        .send()
        .await
        .expect(200);
    let rest = titles(&rest.body);
    assert_eq!(
        rest.iter()
            .filter(|title| !title.starts_with("late"))
            .collect::<Vec<_>>(),
        ["day 6", "day 8"]
    );
    assert!(
        !rest.contains(&"late day 1".to_owned()) && rest.contains(&"late day 5".to_owned()),
        "{rest:?}"
    );

    for query in [
        "",
        "text=days",
        "text=day&has_seats=true",
        "text=day&status=cancelled",
        "text=day&from=2098-01-01T00:00:00Z",
    ] {
        let response = app
            .gateway
            .get(format!("/v1/events?{query}&cursor={next}"))
            .send()
            .await
            .expect(422);
        assert_eq!(response.field_errors(), [("cursor", "malformed")], "{query}");
    }
}

#[tokio::test]
async fn no_list_scans_a_whole_table() {
    const ROWS: &str = "
        INSERT INTO events (id, organizer_id, title, description, venue, starts_at, ends_at, time_zone, capacity,
            registration_closes_at, waiting_list, status, created_at, updated_at, published_at, version)
        SELECT gen_random_uuid(), gen_random_uuid(), 'title ' || n, 'words ' || md5(n::text), 'venue', now() + n * interval '1 minute',
            now() + n * interval '1 minute', 'UTC', 10, now(), false, 'published', now(), now(), now(), 1
        FROM generate_series(1, 5000) n;
        INSERT INTO rosters (event_id, capacity, taken, waiting, closed, version) SELECT id, 10, 0, 0, false, 1 FROM events
        ON CONFLICT DO NOTHING;
        INSERT INTO registrations (id, event_id, user_id, status, position, registered_at, version)
        SELECT gen_random_uuid(), id, gen_random_uuid(), 'confirmed', 2, now(), 2 FROM events;
        INSERT INTO notifications (id, user_id, kind, status, cause_id, event_id, at)
        SELECT gen_random_uuid(), user_id, 'welcome', 'sent', gen_random_uuid(), event_id, now() FROM registrations;
        INSERT INTO event_history (event_id, version, type, at, correlation_id, content, state)
        SELECT id, 1, 'x', now(), id, '{}', '{}' FROM events
        ON CONFLICT DO NOTHING;
        INSERT INTO operations (id, kind, principal, resource_id) SELECT id, 'register', user_id, event_id FROM registrations;
        INSERT INTO users (id, created_at, version) SELECT user_id, now(), 1 FROM registrations;
        INSERT INTO profiles (user_id, email, email_key, username, full_name, date_of_birth, time_zone, version)
        SELECT user_id, user_id::text, user_id::text, user_id::text, 'x', '2000-01-01', 'UTC', 1 FROM registrations;
        ANALYZE";
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let event = app.has_event(&ada).await;
    sqlx::raw_sql(ROWS)
        .execute(app.database.pool())
        .await
        .expect("the rows are inserted");
    // Connections publish their statistics when they are closed.
    app.gateway.app.pool().close().await;
    app.database.pool().close().await;
    let before = sequential_scans(&app.database.url()).await;
    let other = Gateway::start(&app.database, &[]).await;
    let organizer = ada.id;
    for path in [
        "/v1/events".to_owned(),
        "/v1/events?text=words&limit=5".to_owned(),
        "/v1/events?text=title%20c4ca4238a0b923820dcc509a6f75849b".to_owned(),
        "/v1/events?has_seats=true".to_owned(),
        format!("/v1/events?organizer={organizer}"),
        "/v1/events?status=draft".to_owned(),
        "/v1/events?status=cancelled".to_owned(),
        "/v1/events?from=2026-01-01T00:00:00Z&until=2098-01-01T00:00:00Z".to_owned(),
        format!("/v1/events/{event}"),
        format!("/v1/events/{event}/availability"),
        format!("/v1/events/{event}/history"),
        format!("/v1/events/{event}/registrations"),
        "/v1/me/registrations".to_owned(),
        "/v1/me/notifications".to_owned(),
        "/v1/me/notifications?kind=welcome".to_owned(),
        format!("/v1/me/notifications?event_id={event}"),
        "/v1/me/operations".to_owned(),
    ] {
        // Several times, because a prepared statement may get another plan later.
        for _ in 0..7 {
            other.get(&path).by(&ada).send().await.expect(200);
        }
    }
    other.app.pool().close().await;
    assert_eq!(sequential_scans(&app.database.url()).await, before);
}

/// Returns the number of sequential scans of each table. Closes all other connections first so that their statistics
/// are complete. The table of operations is excluded, because every process scans it for old rows when it starts.
async fn sequential_scans(url: &str) -> Vec<(String, i64)> {
    let connection = PgConnection::connect(url).await.expect("the database is reachable");
    let connection = Mutex::new(connection);
    eventually("all other connections are closed", Duration::from_secs(20), || async {
        let mut connection = connection.lock().await;
        // A pool may have been opening a connection when it was closed.
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let others: sqlx::Result<i64> = sqlx::query_scalar(others).fetch_one(&mut *connection).await;
        (others.expect("a number") == 0).then_some(())
    })
    .await;
    let query = "SELECT relname::text, seq_scan FROM pg_stat_user_tables
                 WHERE relname IN ('events', 'rosters', 'registrations', 'notifications', 'event_history', 'profiles')
                 ORDER BY relname";
    let counted = sqlx::query_as(query).fetch_all(&mut *connection.lock().await).await;
    counted.expect("the statistics are readable")
}
