//! Repeated requests with an Idempotency-Key.

use contracts::{EventCommand, UserCommand};
use serde_json::json;

use crate::app::{Call, Person, TestApp, draft, rejected, sign_up};

const KEY: &str = "idempotency-key";

impl TestApp {
    /// Returns a request with a key that creates an event, and waits for `seconds`.
    fn creation(&self, organizer: &Person, seconds: u64) -> Call<'_> {
        self.gateway
            .post("/v1/events")
            .by(organizer)
            .header(KEY, "one")
            .wait(seconds)
            .json(draft())
    }
}

#[tokio::test]
async fn a_repeated_request_returns_the_outcome_of_the_first() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = || app.creation(&ada, 10);
    let (first, ()) = tokio::join!(create().send(), app.events_accept(1));
    let first = first.expect(201);
    let again = create().send().await.expect(201);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    // The order of the members does not matter.
    let text = format!(
        "{{ \"waiting_list\": true, {}",
        &draft().to_string().replace(",\"waiting_list\":true", "")[1..]
    );
    let again = app
        .gateway
        .post("/v1/events")
        .by(&ada)
        .header(KEY, "\"one\"")
        .raw("application/json", text);
    assert_eq!(again.send().await.expect(201).body, first.body);
    assert!(
        app.bench.published_with_envelopes::<EventCommand>().await.is_empty(),
        "only one command is sent"
    );
}

#[tokio::test]
async fn a_repeated_request_returns_the_rejection_of_the_first() {
    let app = TestApp::start().await;
    let sign_up = || {
        app.gateway
            .post("/v1/users")
            .header(KEY, "one")
            .wait(10)
            .json(sign_up("ada"))
    };
    let (first, ()) = tokio::join!(sign_up().send(), async {
        let command = app.command::<UserCommand>().await;
        app.bench
            .deliver(rejected(command.envelope.id, "email-taken", &[("email", "taken")]))
            .await;
    });
    let again = sign_up().send().await.expect(409);
    assert_eq!(first.expect(409).body["instance"], again.body["instance"]);
    assert_eq!(again.code(), "email-taken");
    app.assert_not_published::<UserCommand>().await;
}

#[tokio::test]
async fn a_different_request_with_the_same_key_is_rejected() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = |body| {
        app.gateway
            .post("/v1/events")
            .by(&ada)
            .header(KEY, "one")
            .wait(0)
            .json(body)
    };
    let first = create(draft()).send().await.expect(202);
    let mut other = draft();
    other["capacity"] = json!(3);
    let response = create(other).send().await.expect(422);
    assert_eq!(response.code(), "idempotency-key-reused");
    assert_eq!(response.body["instance"], format!("/v1/operations/{}", first.id()));
    let detail = response.body["detail"].as_str().expect("a string");
    assert!(detail.contains(&first.id().to_string()), "{detail}");
    // A request to another path is rejected as well.
    let elsewhere = app
        .gateway
        .delete(format!("/v1/users/{}", ada.id))
        .by(&ada)
        .header(KEY, "one")
        .send()
        .await;
    assert_eq!(elsewhere.expect(422).code(), "idempotency-key-reused");
    app.command::<EventCommand>().await;
}

#[tokio::test]
async fn a_key_belongs_to_its_user_or_to_the_anonymous_request() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.organizer("ada").await, app.organizer("bob").await);
    let mut operations = Vec::new();
    for person in [&ada, &bob] {
        operations.push(app.creation(person, 0).send().await.expect(202).id());
    }
    for name in ["eve", "mallory"] {
        let create = app
            .gateway
            .post("/v1/users")
            .header(KEY, "one")
            .wait(0)
            .json(sign_up(name));
        operations.push(create.send().await.expect(202).id());
    }
    operations.dedup();
    assert_eq!(operations.len(), 4);
    assert_eq!(app.commands::<EventCommand>().await.len(), 2);
    assert_eq!(app.commands::<UserCommand>().await.len(), 2);
}

#[tokio::test]
async fn a_repetition_conflicts_only_while_the_first_request_waits() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = |wait| app.creation(&ada, wait);
    let mut first = Box::pin(create(20).send());
    tokio::select! {
        response = &mut first => panic!("no service has replied, but the response is {response:?}"),
        _ = app.commands::<EventCommand>() => {
            let again = create(20).send().await.expect(409);
            assert_eq!(again.code(), "operation-in-progress");
            assert_eq!(again.header("retry-after"), "1");
        }
    }
    // The client disconnects long before the 20 seconds have passed.
    drop(first);
    testing::eventually(
        "the operation is released",
        std::time::Duration::from_secs(5),
        || async {
            let again = create(20).send().await;
            (again.status == 202).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_repetition_is_pending_if_the_first_request_did_not_wait() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = || app.creation(&ada, 0);
    let first = create().send().await.expect(202);
    let again = create().send().await.expect(202);
    assert_eq!(again.id(), first.id());
    app.command::<EventCommand>().await;
}

#[tokio::test]
async fn concurrent_requests_with_one_key_begin_one_operation() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = |_| app.creation(&ada, 0).send();
    let responses = futures::future::join_all((0..20).map(create)).await;
    let mut operations: Vec<_> = responses
        .into_iter()
        .map(|response| response.expect(202).id())
        .collect();
    operations.dedup();
    assert_eq!(operations.len(), 1);
    app.command::<EventCommand>().await;
}

#[tokio::test]
async fn a_key_is_deleted_after_its_retention() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let create = || app.creation(&ada, 0);
    let first = create().send().await.expect(202);
    sqlx::query("UPDATE operations SET created_at = created_at - interval '25 hours'")
        .execute(app.database.pool())
        .await
        .expect("the operations are backdated");
    let (day, month) = (24 * 3_600, 30 * 24 * 3_600);
    let [idempotency_keys, operations] = [day, month].map(std::time::Duration::from_secs);
    let retention = gateway::config::Retention {
        idempotency_keys,
        operations,
    };
    gateway::CleanUp::new(app.database.pool().clone(), retention)
        .run_once()
        .await
        .expect("the clean-up succeeds");
    let second = create().send().await.expect(202);
    assert_ne!(second.id(), first.id());
    // The operation itself is stored longer.
    app.gateway
        .get(first.header("location"))
        .by(&ada)
        .send()
        .await
        .expect(200);
    assert_eq!(app.commands::<EventCommand>().await.len(), 2);
}

#[tokio::test]
async fn an_invalid_key_is_malformed() {
    let app = TestApp::start().await;
    for key in ["", "\"\"", "ключ", &"k".repeat(256)] {
        let response = app
            .gateway
            .post("/v1/users")
            .header(KEY, key)
            .json(sign_up("ada"))
            .send()
            .await;
        assert_eq!(response.expect(400).code(), "malformed", "{key}");
    }
}
