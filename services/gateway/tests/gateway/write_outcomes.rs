//! Responses to writes, and the outcomes of their operations.

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
async fn a_sign_up_returns_the_profile_that_reads_show() {
    let app = TestApp::start().await;
    let (response, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        app.users_accept()
    );
    let response = response.expect(201);
    assert_eq!(response.header("location"), format!("/v1/users/{}", response.id()));
    assert_eq!(response.header("preference-applied"), "wait=10");
    assert_eq!(response.header("etag"), "\"1\"");
    assert_eq!(
        response.body,
        json!({
            "id": response.id(), "email": "ada@example.org", "username": "ada", "full_name": "Ada Lovelace",
            "date_of_birth": "1990-12-10", "time_zone": "Europe/London", "status": "active", "roles": ["member"],
            "email_verified": false, "reminders": true, "announcements": true, "created_at": "2026-03-01T12:00:00Z",
            "version": 1,
        })
    );
}

#[tokio::test]
async fn a_command_names_its_operation_its_actor_and_the_reply_topic() {
    let app = TestApp::start().await;
    let response = app.sign_up_without_waiting("ada").await;
    let command = app.command::<UserCommand>().await;
    let envelope = &command.envelope;
    assert_eq!((envelope.id, envelope.correlation_id), (response.id(), response.id()));
    assert_eq!(envelope.causation_id, None);
    assert_eq!(envelope.actor, Some(Actor::service("gateway")));
    assert_eq!(envelope.reply_to.as_deref(), Some("bench.gateway.replies"));

    let ada = {
        app.bench.deliver(rejected(response.id(), "email-taken", &[])).await;
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
async fn a_late_outcome_is_202_and_shown_by_the_operation() {
    let app = TestApp::start().await;
    let response = app
        .gateway
        .post("/v1/users")
        .wait(1)
        .json(sign_up("ada"))
        .send()
        .await
        .expect(202);
    assert_eq!(response.header("location"), format!("/v1/operations/{}", response.id()));
    assert_eq!(response.header("preference-applied"), "wait=1");
    assert_eq!(response.header("retry-after"), "1");
    assert_eq!(response.body["status"], "pending");

    let pending = app.gateway.get(response.header("location")).send().await.expect(200);
    assert_eq!(
        (&pending.body["status"], pending.header("retry-after")),
        (&json!("pending"), "1")
    );

    app.users_accept().await;
    let done = app.gateway.get(response.header("location")).send().await.expect(200);
    assert_eq!(done.body["status"], "succeeded");
    assert!(
        done.body["resource"]
            .as_str()
            .is_some_and(|resource| resource.starts_with("/v1/users/"))
    );
    assert!(done.headers.get("retry-after").is_none());
}

#[tokio::test]
async fn an_operation_succeeds_only_when_the_read_models_contain_every_effect() {
    let app = TestApp::start().await;
    let response = app.sign_up_without_waiting("ada").await;
    let command = app.command::<UserCommand>().await;
    let user = command.envelope.key;
    let status = async || {
        let operation = app.gateway.get(response.header("location")).send().await.expect(200);
        operation.body["status"].as_str().expect("a status").to_owned()
    };

    let effects = vec![
        effect(&topics::USERS, user, 1),
        effect(&topics::USERS_PROFILES, user, 1),
    ];
    app.bench.deliver(accepted(response.id(), 1, effects)).await;
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
async fn a_reply_with_nul_characters_completes_the_operation() {
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
async fn an_effect_outside_the_read_models_is_not_waited_for() {
    let app = TestApp::start().await;
    let (response, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        async {
            let command = app.command::<UserCommand>().await;
            let effects = vec![effect(&topics::NOTIFICATIONS, command.envelope.key, 7)];
            app.bench.deliver(accepted(command.envelope.id, 1, effects)).await;
        }
    );
    // The profile does not exist, so the response shows the operation.
    assert_eq!(response.expect(201).body["status"], "succeeded");
}

#[tokio::test]
async fn a_rejection_is_a_problem_with_the_code_and_fields_of_the_service() {
    let app = TestApp::start().await;
    let (response, ()) = tokio::join!(
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
    let response = response.expect(409);
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(response.code(), "email-taken");
    assert_eq!(response.body["type"], "urn:rollcall:problem:email-taken");
    assert_eq!(response.field_errors(), [("email", "taken"), ("username", "taken")]);

    let operation = app
        .gateway
        .get(response.body["instance"].as_str().expect("a path"))
        .send()
        .await
        .expect(200);
    assert_eq!(operation.body["status"], "rejected");
    assert_eq!(operation.body["problem"]["code"], "email-taken");
    assert_eq!(
        app.count("SELECT count(*) FROM credentials").await,
        0,
        "the pending credentials are deleted"
    );
}

#[tokio::test]
async fn a_failed_command_is_a_problem_with_its_code() {
    let app = TestApp::start().await;
    for (code, status) in [("expired", 503), ("not-executable", 500)] {
        let (response, ()) = tokio::join!(
            app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
            async {
                let command = app.command::<UserCommand>().await;
                app.bench.deliver(failed(command.envelope.id, code)).await;
            }
        );
        let response = response.expect(status);
        assert_eq!(
            (response.code(), &response.body["detail"]),
            (code, &json!("The command could not be executed."))
        );
        let operation = app
            .gateway
            .get(response.body["instance"].as_str().expect("a path"))
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
    let response = app.sign_up_without_waiting("ada").await;
    app.users_accept().await;
    app.bench.deliver(failed(response.id(), "expired")).await;
    app.bench.deliver(rejected(response.id(), "email-taken", &[])).await;
    let operation = app.gateway.get(response.header("location")).send().await.expect(200);
    assert_eq!(operation.body["status"], "succeeded");
    app.sign_in("ada").await.expect(201);
}

#[tokio::test]
async fn a_reply_to_an_unknown_operation_is_dropped() {
    let app = TestApp::start().await;
    app.bench.deliver(accepted(Uuid::now_v7(), 1, Vec::new())).await;
    app.bench.deliver_again().await;
    assert_eq!(app.count("SELECT count(*) FROM operations").await, 0);
}

#[tokio::test]
async fn reply_at_another_gateway_still_201() {
    let app = TestApp::start().await;
    let other = Gateway::start(&app.database, &[]).await;
    // The other process receives all messages; this one only receives requests.
    let bench = Bench::new(
        "gateway",
        app.database.ledger(),
        app.database.ledger(),
        other.app.subscriptions(),
    );
    let app = TestApp { bench, ..app };
    let (response, ()) = tokio::join!(
        app.gateway.post("/v1/users").wait(10).json(sign_up("ada")).send(),
        app.users_accept()
    );
    let location = response.expect(201).header("location").to_owned();

    // Both gateways show the new user.
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
    // The process ends while the request waits: the command is stored, but not published.
    let request = gateway.post("/v1/users").wait(20).json(sign_up("ada")).send();
    let durable = testing::eventually("the operation is stored", std::time::Duration::from_secs(5), || async {
        let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM operations")
            .fetch_optional(database.pool())
            .await
            .expect("operations can be read");
        id
    });
    let operation = tokio::select! {
        response = request => panic!("no service has replied, but the response is {response:?}"),
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
async fn the_operation_of_another_user_is_not_found() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.person("ada").await, app.person("bob").await);
    let response = app
        .gateway
        .delete(format!("/v1/users/{}", ada.id))
        .by(&ada)
        .wait(0)
        .send()
        .await
        .expect(202);
    let operation = response.header("location");
    app.gateway.get(operation).by(&ada).send().await.expect(200);
    app.gateway.get(operation).by(&bob).send().await.expect(404);
    app.gateway.get(operation).send().await.expect(404);

    let own = app.gateway.get("/v1/me/operations").by(&ada).send().await.expect(200);
    assert_eq!(own.body["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(own.body["items"][0]["kind"], "deactivate-user");
    let others = app.gateway.get("/v1/me/operations").by(&bob).send().await.expect(200);
    assert_eq!(others.body, json!({ "items": [] }));
    app.command::<UserCommand>().await;
}

#[tokio::test]
async fn a_write_that_the_store_refuses_does_not_affect_concurrent_writes() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE check_violation; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON operations FOR EACH ROW WHEN (NEW.kind = 'publish-event')
         EXECUTE FUNCTION refuse()",
    )
    .execute(app.database.pool())
    .await
    .expect("the trigger is valid");
    let writes = (0..20).map(|index| {
        let path = match index {
            10 => format!("/v1/events/{}/publish", Uuid::now_v7()),
            _ => "/v1/events".to_owned(),
        };
        let call = app.gateway.post(path).by(&ada).wait(0);
        match index {
            10 => call.send(),
            _ => call.json(crate::app::draft()).send(),
        }
    });
    for (index, response) in futures::future::join_all(writes).await.into_iter().enumerate() {
        response.expect(if index == 10 { 500 } else { 202 });
    }
    assert_eq!(app.commands::<contracts::EventCommand>().await.len(), 19);
}

#[tokio::test]
async fn concurrent_writes_each_return_their_own_operation() {
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
    let responses = futures::future::join_all(drafts).await;
    let mut operations: Vec<Uuid> = responses
        .into_iter()
        .map(|response| response.expect(202).id())
        .collect();
    let commands = app.commands::<contracts::EventCommand>().await;
    let mut sent: Vec<Uuid> = commands.iter().map(|command| command.envelope.id).collect();
    operations.sort();
    sent.sort();
    assert_eq!(sent, operations);
}
