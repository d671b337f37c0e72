//! The statements that requests cost the database.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::app::{TestApp, draft};

/// The statements that this thread has executed, from the driver's log. Begins, commits and pings are not among them.
struct Statements {
    executed: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

struct Recorder(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Text(String);

impl Statements {
    fn record() -> Self {
        let executed = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Recorder(Arc::clone(&executed)));
        Self {
            executed,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Returns the number of statements that contain `text`.
    fn containing(&self, text: &str) -> usize {
        let executed = self.executed.lock().expect("no test thread panicked");
        executed.iter().filter(|statement| statement.contains(text)).count()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().expect("no test thread panicked").push(text.0);
        }
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if matches!(field.name(), "summary" | "db.statement") {
            let _ = write!(self.0, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "summary" | "db.statement") {
            self.0.push_str(value);
        }
    }
}

/// Part of the statement that reads the outcomes of waiting requests.
const OUTCOMES: &str = "o.state <> 'pending'";

#[tokio::test]
async fn a_waiting_request_reads_its_outcome_less_and_less_often() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let statements = Statements::record();
    let request = app.gateway.post("/v1/events").by(&ada).wait(1).json(draft());
    request.send().await.expect(202);
    let reads = statements.containing(OUTCOMES);
    assert!((5..=20).contains(&reads), "{reads} reads in a second");
}

#[tokio::test]
async fn concurrent_requests_share_their_statements() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let statements = Statements::record();
    let requests = (0..50).map(|_| app.gateway.post("/v1/events").by(&ada).wait(1).json(draft()).send());
    for response in futures::future::join_all(requests).await {
        response.expect(202);
    }
    let reads = statements.containing(OUTCOMES);
    assert!(reads <= 60, "{reads} reads in a second for 50 requests");
    let writes = statements.containing("INSERT INTO operations");
    assert!(writes <= 10, "{writes} writes for 50 requests");
}

#[tokio::test]
async fn an_event_is_created_with_few_statements() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    // The statements are prepared, and the user's roles are cached.
    app.has_draft(&ada).await;
    app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    let statements = Statements::record();
    app.has_draft(&ada).await;
    // Both the request and the transactions of the reply and the domain event, without the bookkeeping of delivery.
    for (statement, count) in [
        ("INSERT INTO operations", 1),
        ("UPDATE operations", 1),
        ("INSERT INTO events", 1),
        ("INSERT INTO event_history", 1),
        ("JOIN events e ON e.id = n.id", 1),
        // There is nothing to read before the first domain event of an event.
        ("FROM events e WHERE e.id = ANY", 0),
        ("SELECT id, resource_id FROM operations", 0),
    ] {
        assert_eq!(statements.containing(statement), count, "{statement}");
    }
    let reads = statements.containing(OUTCOMES);
    assert!((1..=20).contains(&reads), "{reads} reads");
}

#[tokio::test]
async fn concurrent_reads_of_events_share_their_statements() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let (draft, published) = (app.has_draft(&ada).await, app.has_event(&ada).await);
    app.gateway.get("/v1/me").by(&ada).send().await.expect(200);
    let statements = Statements::record();
    let reads = (0..40).map(|index| {
        // Each request is answered as its own viewer sees its own event.
        let (event, expected) = match index % 4 {
            0 | 1 => (published, 200),
            2 => (draft, 404),
            _ => (draft, 200),
        };
        let call = app.gateway.get(format!("/v1/events/{event}"));
        let call = if index % 4 == 2 { call } else { call.by(&ada) };
        async move { (event, expected, call.send().await) }
    });
    for (event, expected, response) in futures::future::join_all(reads).await {
        let response = response.expect(expected);
        assert!(expected == 404 || response.id() == event);
    }
    let reads = statements.containing("JOIN events e ON e.id = n.id");
    assert!(reads <= 5, "{reads} statements for 40 requests");
}
