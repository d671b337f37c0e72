//! How a write is answered.

use contracts::{
    Actor, CommandAccepted, CommandRejected, FieldError, Reply, Timestamp, UserCommand, UserCreated, UserEvent,
    UserProfileState, topics,
};
use messaging::Outgoing;
use serde_json::json;
use testing::Bench;
use uuid::Uuid;

use crate::app::{Gateway, TestApp, accepted, effect, failed, rejected, sign_up};

#[tokio::test]
async fn a_sign_up_is_answered_with_the_profile_that_everybody_can_read_by_then() {
    let app = TestApp::start().await;
    let (answer, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        app.users_accept()
    );
    let answer = answer.expect(201);
    assert_eq!(answer.header("location"), format!("/v1/users/{}", answer.id()));
    assert_eq!(answer.header("preference-applied"), "wait=10");
    assert_eq!(answer.header("etag"), "\"1\"");
    assert_eq!(
        answer.body,
        json!({
            "id": answer.id(), "email": "ada@example.org", "username": "ada", "full_name": "Ada Lovelace",
            "date_of_birth": "1990-12-10", "time_zone": "Europe/London", "status": "active", "roles": ["member"],
            "email_verified": false, "reminders": true, "announcements": true, "created_at": "2026-03-01T12:00:00Z",
            "version": 1,
        })
    );
}

#[tokio::test]
async fn a_command_names_its_operation_its_actor_and_where_the_reply_goes() {
    let app = TestApp::start().await;
    let answer = app
        .gateway
        .post("/v1/users")
        .wait(0)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    let command = app.command::<UserCommand>().await;
    let envelope = &command.envelope;
    assert_eq!((envelope.id, envelope.correlation_id), (answer.id(), answer.id()));
    assert_eq!(envelope.causation_id, None);
    assert_eq!(envelope.actor, Some(Actor::service("gateway")));
    assert_eq!(envelope.reply_to.as_deref(), Some("bench.gateway.replies"));

    let ada = {
        app.bench.deliver(rejected(answer.id(), "email-taken", &[])).await;
        app.person("ada").await
    };
    app.gateway
        .delete(format!("/v1/users/{}", ada.id))
        .by(&ada)
        .wait(0)
        .send()
        .await
        .expect(202);
    let command = app.command::<UserCommand>().await;
    assert_eq!(command.envelope.actor, Some(Actor::User(ada.id)));
    assert!(matches!(command.body, UserCommand::DeactivateUser(_)));
}

#[tokio::test]
async fn not_in_time_is_202_and_the_outcome_is_there_whenever_it_comes() {
    let app = TestApp::start().await;
    let answer = app
        .gateway
        .post("/v1/users")
        .wait(1)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    assert_eq!(answer.header("location"), format!("/v1/operations/{}", answer.id()));
    assert_eq!(answer.header("preference-applied"), "wait=1");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.body["status"], "pending");

    let pending = app.gateway.get(answer.header("location")).send().await.expect(200);
    assert_eq!(
        (&pending.body["status"], pending.header("retry-after")),
        (&json!("pending"), "1")
    );

    app.users_accept().await;
    let done = app.gateway.get(answer.header("location")).send().await.expect(200);
    assert_eq!(done.body["status"], "succeeded");
    assert!(
        done.body["resource"]
            .as_str()
            .is_some_and(|resource| resource.starts_with("/v1/users/"))
    );
    assert!(done.headers.get("retry-after").is_none());
}

#[tokio::test]
async fn an_operation_succeeds_only_when_the_read_models_hold_every_effect() {
    let app = TestApp::start().await;
    let answer = app
        .gateway
        .post("/v1/users")
        .wait(0)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    let command = app.command::<UserCommand>().await;
    let user = command.envelope.key;
    let status = async || {
        let operation = app.gateway.get(answer.header("location")).send().await.expect(200);
        operation.body["status"].as_str().expect("a status").to_owned()
    };

    let effects = vec![
        effect(&topics::USERS, user, 1),
        effect(&topics::USERS_PROFILES, user, 1),
    ];
    app.bench.deliver(accepted(answer.id(), 1, effects)).await;
    app.bench.deliver_again().await;
    assert_eq!(status().await, "pending");

    let created_at = Timestamp::EPOCH;
    app.bench
        .deliver(Outgoing::<UserEvent>::new(user, UserCreated { created_at }))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(status().await, "pending");

    let profile = contracts::UserProfile {
        email: "ada@example.org".to_owned(),
        username: "ada".to_owned(),
        full_name: "Ada Lovelace".to_owned(),
        date_of_birth: created_at.date(),
        time_zone: "UTC".to_owned(),
        email_verified: false,
        reminders: true,
        announcements: true,
    };
    app.bench
        .deliver(Outgoing::<UserProfileState>::new(user, profile))
        .await;
    app.bench.deliver_again().await;
    assert_eq!(status().await, "succeeded");
}

#[tokio::test]
async fn a_reply_with_what_no_column_can_hold_is_an_outcome_too() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let nul = "a\0b".to_owned();
    for status in ["rejected", "failed", "succeeded"] {
        let delete = app.gateway.delete(format!("/v1/users/{}", ada.id)).by(&ada).wait(0);
        let operation = delete.send().await.expect(202).id();
        app.command::<UserCommand>().await;
        let reply: Outgoing<Reply> = match status {
            "rejected" => {
                let errors = vec![FieldError {
                    field: nul.clone(),
                    code: nul.clone(),
                    message: nul.clone(),
                }];
                let (code, detail) = (nul.clone(), nul.clone());
                let rejected = CommandRejected {
                    command_id: operation,
                    code,
                    detail,
                    errors,
                };
                Outgoing::new(operation, rejected)
            }
            "failed" => failed(operation, &nul),
            _ => {
                let accepted = CommandAccepted {
                    command_id: operation,
                    version: 1,
                    effects: Vec::new(),
                    result: Some(nul.clone()),
                };
                Outgoing::new(operation, accepted)
            }
        };
        app.bench.deliver(reply).await;
        app.bench.deliver_again().await;
        let path = format!("/v1/operations/{operation}");
        let shown = app.gateway.get(path).by(&ada).send().await.expect(200);
        assert_eq!(shown.body["status"], status);
    }
}

#[tokio::test]
async fn an_effect_that_no_read_model_shows_is_not_waited_for() {
    let app = TestApp::start().await;
    let (answer, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        async {
            let command = app.command::<UserCommand>().await;
            let effects = vec![effect(&topics::NOTIFICATIONS, command.envelope.key, 7)];
            app.bench.deliver(accepted(command.envelope.id, 1, effects)).await;
        }
    );
    // There is no profile to show, so the operation is.
    assert_eq!(answer.expect(201).body["status"], "succeeded");
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_the_services_code_and_fields() {
    let app = TestApp::start().await;
    let (answer, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        async {
            let command = app.command::<UserCommand>().await;
            let errors = [("email", "taken"), ("username", "taken")];
            app.bench
                .deliver(rejected(command.envelope.id, "email-taken", &errors))
                .await;
            app.bench.deliver_again().await;
        }
    );
    let answer = answer.expect(409);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.code(), "email-taken");
    assert_eq!(answer.body["type"], "urn:rollcall:problem:email-taken");
    assert_eq!(answer.faults(), [("email", "taken"), ("username", "taken")]);

    let operation = app
        .gateway
        .get(answer.body["instance"].as_str().expect("a path"))
        .send()
        .await
        .expect(200);
    assert_eq!(operation.body["status"], "rejected");
    assert_eq!(operation.body["problem"]["code"], "email-taken");
    assert_eq!(
        app.count("SELECT count(*) FROM credentials").await,
        0,
        "what was pending is gone"
    );
}

#[tokio::test]
async fn a_command_that_could_not_be_carried_out_says_so() {
    let app = TestApp::start().await;
    for (code, status) in [("expired", 503), ("not-executable", 500)] {
        let (answer, ()) = tokio::join!(
            app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
            async {
                let command = app.command::<UserCommand>().await;
                app.bench.deliver(failed(command.envelope.id, code)).await;
            }
        );
        let answer = answer.expect(status);
        assert_eq!(
            (answer.code(), &answer.body["detail"]),
            (code, &json!("It could not be."))
        );
        let operation = app
            .gateway
            .get(answer.body["instance"].as_str().expect("a path"))
            .send()
            .await
            .expect(200);
        assert_eq!(operation.body["status"], "failed");
    }
    assert_eq!(app.count("SELECT count(*) FROM credentials").await, 0);
}

#[tokio::test]
async fn an_operation_has_one_outcome() {
    let app = TestApp::start().await;
    let answer = app
        .gateway
        .post("/v1/users")
        .wait(0)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    app.users_accept().await;
    app.bench.deliver(failed(answer.id(), "expired")).await;
    app.bench.deliver(rejected(answer.id(), "email-taken", &[])).await;
    let operation = app.gateway.get(answer.header("location")).send().await.expect(200);
    assert_eq!(operation.body["status"], "succeeded");
    app.sign_in("ada").await.expect(201);
}

#[tokio::test]
async fn a_reply_to_an_operation_that_nobody_knows_is_dropped() {
    let app = TestApp::start().await;
    app.bench.deliver(accepted(Uuid::now_v7(), 1, Vec::new())).await;
    app.bench.deliver_again().await;
    assert_eq!(app.count("SELECT count(*) FROM operations").await, 0);
}

#[tokio::test]
async fn reply_at_another_gateway_still_201() {
    let app = TestApp::start().await;
    let other = Gateway::start(&app.database, &[]).await;
    // All messages reach the other process; this one has nothing but its requests.
    let bench = Bench::new(
        "gateway",
        app.database.ledger(),
        app.database.ledger(),
        other.app.subscriptions(),
    );
    let app = TestApp { bench, ..app };
    let (answer, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        app.users_accept()
    );
    let location = answer.expect(201).header("location").to_owned();

    // What one has answered, the other one shows too.
    let ada = app.sign_in("ada").await.expect(201);
    let token = format!("Bearer {}", ada.body["access_token"].as_str().expect("a token"));
    for gateway in [&app.gateway, &other] {
        gateway
            .get(&location)
            .header("authorization", &token)
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn gateway_dies_operation_completes() {
    let TestApp {
        bench: _,
        gateway,
        database,
    } = TestApp::start().await;
    // The request waits, its command is durable, and then the process is gone: nothing was published.
    let request = gateway.post("/v1/users").wait(20).json(sign_up("ada")).send();
    let durable = testing::eventually("the operation is there", std::time::Duration::from_secs(5), || async {
        let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM operations")
            .fetch_optional(database.pool())
            .await
            .expect("operations can be read");
        id
    });
    let operation = tokio::select! {
        answer = request => panic!("nobody decides: {answer:?}"),
        operation = durable => operation,
    };
    drop(gateway);

    let gateway = Gateway::start(&database, &[]).await;
    let ledger = database.ledger();
    let bench = Bench::new("gateway", ledger.clone(), ledger, gateway.app.subscriptions());
    let app = TestApp {
        bench,
        gateway,
        database,
    };
    app.users_accept().await;
    let operation = app
        .gateway
        .get(format!("/v1/operations/{operation}"))
        .send()
        .await
        .expect(200);
    assert_eq!(operation.body["status"], "succeeded");
    app.sign_in("ada").await.expect(201);
}

#[tokio::test]
async fn somebody_elses_operation_is_not_there() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let answer = app
        .gateway
        .delete(format!("/v1/users/{}", ada.id))
        .by(&ada)
        .wait(0)
        .send()
        .await
        .expect(202);
    let operation = answer.header("location");
    app.gateway.get(operation).by(&ada).send().await.expect(200);
    app.gateway.get(operation).by(&bob).send().await.expect(404);
    app.gateway.get(operation).send().await.expect(404);

    let mine = app.gateway.get("/v1/me/operations").by(&ada).send().await.expect(200);
    assert_eq!(mine.body["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(mine.body["items"][0]["kind"], "deactivate-user");
    let his = app.gateway.get("/v1/me/operations").by(&bob).send().await.expect(200);
    assert_eq!(his.body, json!({ "items": [] }));
    app.command::<UserCommand>().await;
}

#[tokio::test]
async fn concurrent_writes_are_each_answered_with_their_own() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    let drafts = (0..20).map(|_| {
        app.gateway
            .post("/v1/events")
            .by(&ada)
            .wait(0)
            .json(crate::app::draft())
            .send()
    });
    let answers = futures::future::join_all(drafts).await;
    let mut operations: Vec<Uuid> = answers.into_iter().map(|answer| answer.expect(202).id()).collect();
    let commands = app.commands::<contracts::EventCommand>().await;
    let mut said: Vec<Uuid> = commands.iter().map(|command| command.envelope.id).collect();
    operations.sort();
    said.sort();
    assert_eq!(said, operations);
}
