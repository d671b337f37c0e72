//! Status of the services, and queries and commands of operators.

use axum::http::Method;
use contracts::ops::Assignment;
use contracts::security::Role as GrantedRole;
use contracts::{
    Actor, CommandAccepted, CreateAdmin, Date, GrantRole, NotificationCommand, OpsCommand, ProcessStatus,
    ProcessStatusState, Reply, SecurityFact, Timestamp, UserCommand,
};
use messaging::Outgoing;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

use crate::app::{TestApp, rejected, replied, token};

const ROUTES: [(&str, &str, &str); 8] = [
    ("GET", "/v1/ops/status", ""),
    ("GET", "/v1/ops/lag", ""),
    ("GET", "/v1/ops/parked?service=user", ""),
    ("GET", "/v1/ops/dead-letters?service=user", ""),
    ("GET", "/v1/ops/where-is?id=0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e", ""),
    (
        "POST",
        "/v1/ops/parked/release",
        r#"{"service":"user","topic":"users.commands","key":"0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e"}"#,
    ),
    (
        "POST",
        "/v1/ops/dead-letters/0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e/redrive",
        r#"{"service":"user"}"#,
    ),
    (
        "POST",
        "/v1/ops/dead-letters/0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e/discard",
        r#"{"service":"user"}"#,
    ),
];

impl TestApp {
    async fn process_reports(&self, service: &str, reported_at: Timestamp, lags: [i64; 2]) -> Uuid {
        let instance = Uuid::now_v7();
        let assignment = |(partition, lag): (i32, i64)| Assignment {
            topic: "users.commands".to_owned(),
            partition,
            position: 1,
            lag,
            lag_ms: (lag > 0).then_some(lag.saturating_mul(10)),
        };
        let status = ProcessStatus {
            service: service.to_owned(),
            instance,
            version: "1.0.0".to_owned(),
            started_at: reported_at,
            reported_at,
            ready: true,
            outbox_rows: 3,
            outbox_oldest_age_ms: 40,
            assignments: (0..).zip(lags).map(assignment).collect(),
            parked_keys: 1,
            oldest_gap_age_ms: 5,
            dead_letters: 2,
        };
        self.bench
            .deliver(Outgoing::<ProcessStatusState>::new(instance, status))
            .await;
        self.bench.deliver_again().await;
        instance
    }
}

#[tokio::test]
async fn ops_routes_are_only_for_admins() {
    let app = TestApp::start().await;
    let ada = app.organizer("ada").await;
    for (method, path, body) in ROUTES {
        let call = || {
            let call = app
                .gateway
                .call(Method::from_bytes(method.as_bytes()).expect("a method"), path);
            if body.is_empty() {
                call
            } else {
                call.raw("application/json", body)
            }
        };
        assert_eq!(call().by(&ada).send().await.expect(403).code(), "role-needed", "{path}");
        call().send().await.expect(401);
    }
    app.assert_not_published::<OpsCommand>().await;
}

#[tokio::test]
async fn status_and_lag_show_the_reports_of_the_processes() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let now = Timestamp::now();
    let minute_ago = Timestamp::from_micros(now.as_micros() - 60_000_000).expect("a time");
    let one = app.process_reports("user", now, [2, 3]).await;
    let two = app.process_reports("user", now, [0, 4]).await;
    let silent = app.process_reports("audit", minute_ago, [9, 9]).await;
    let status = app
        .gateway
        .get("/v1/ops/status")
        .by(&root)
        .send()
        .await
        .expect(200)
        .body;
    let row = |id: Uuid| -> Value {
        let items = status["items"].as_array().expect("items");
        items
            .iter()
            .find(|item| item["instance"] == json!(id))
            .expect("it exists")
            .clone()
    };
    assert_eq!(status["items"].as_array().map(Vec::len), Some(3));
    for (member, value) in [
        ("service", json!("user")),
        ("ready", json!(true)),
        ("silent", json!(false)),
        ("outbox_rows", json!(3)),
        ("parked_keys", json!(1)),
        ("dead_letters", json!(2)),
        ("lag", json!(5)),
    ] {
        assert_eq!(row(one)[member], value, "{member}");
    }
    assert_eq!((&row(two)["lag"], &row(silent)["silent"]), (&json!(4), &json!(true)));
    let lag = app.gateway.get("/v1/ops/lag").by(&root).send().await.expect(200).body;
    let user = json!({ "service": "user", "topic": "users.commands", "partitions": 4, "lag": 9, "lag_ms": 40 });
    assert_eq!(lag["items"], json!([user]));

    app.bench
        .deliver(Outgoing::<ProcessStatusState>::new(two, ProcessStatusState::Tombstone).sequence(i64::MAX))
        .await;
    app.bench.deliver_again().await;
    let status = app
        .gateway
        .get("/v1/ops/status")
        .by(&root)
        .send()
        .await
        .expect(200)
        .body;
    assert_eq!(
        status["items"].as_array().map(Vec::len),
        Some(2),
        "the process has ended"
    );
}

#[tokio::test]
async fn a_hostile_report_does_not_affect_the_view_of_other_processes() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let now = Timestamp::now();
    let honest = app.process_reports("user", now, [2, 3]).await;
    let large = app.process_reports("user", now, [i64::MAX, i64::MAX]).await;
    let small = app.process_reports("audit", now, [i64::MIN, i64::MIN]).await;
    let end_of_time = Timestamp::parse("9999-12-31T23:59:59Z").expect("a time");
    let future = app.process_reports("event", end_of_time, [1, 1]).await;

    let status = app.gateway.get("/v1/ops/status").by(&root).send().await;
    let status = status.expect(200).body;
    let row = |id: Uuid| -> &Value {
        let items = status["items"].as_array().expect("items");
        items
            .iter()
            .find(|item| item["instance"] == json!(id))
            .expect("it exists")
    };
    assert_eq!(row(honest)["lag"], 5);
    assert_eq!(row(large)["lag"], i64::MAX);
    assert_eq!(row(small)["lag"], 0);
    // Otherwise the process would be shown as live for eight thousand years.
    let reported_at = row(future)["reported_at"].as_str().expect("a time");
    assert!(Timestamp::parse(reported_at).expect("a time") <= Timestamp::now());

    let lag = app.gateway.get("/v1/ops/lag").by(&root).send().await.expect(200).body;
    let of_service = |service: &str| -> &Value {
        let items = lag["items"].as_array().expect("items");
        items.iter().find(|item| item["service"] == service).expect("it exists")
    };
    assert_eq!(of_service("user")["lag"], i64::MAX);
    assert_eq!(of_service("user")["partitions"], 4);
    assert_eq!(of_service("audit")["lag"], 0);
}

#[tokio::test]
async fn parked_keys_and_dead_letters_are_queried_from_the_service() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    for path in ["/v1/ops/parked", "/v1/ops/dead-letters"] {
        let call = app
            .gateway
            .get(format!("{path}?service=registration&limit=7"))
            .by(&root);
        let (response, ()) = tokio::join!(call.send(), async {
            let command = app.command::<OpsCommand>().await;
            assert_eq!(command.envelope.actor, Some(Actor::Admin(root.id)));
            assert_eq!(command.body.service(), "registration");
            let limit = match &command.body {
                OpsCommand::FindParked(find) => find.limit,
                OpsCommand::FindDeadLetters(find) => find.limit,
                other => panic!("{other:?}"),
            };
            assert_eq!(limit, 7);
            app.bench
                .deliver(replied(command.envelope.id, json!({ "items": [1] })))
                .await;
        });
        assert_eq!(response.expect(200).body, json!({ "items": [1] }));
        let unknown = app.gateway.get(format!("{path}?service=weather")).by(&root);
        assert_eq!(
            unknown.send().await.expect(422).field_errors(),
            [("service", "unknown")]
        );
        app.gateway.get(path).by(&root).send().await.expect(422);
    }
    let mine = app.gateway.get("/v1/me/operations").by(&root).send().await.expect(200);
    assert_eq!(
        mine.body["items"],
        json!([]),
        "queries are not listed among the operations"
    );
}

#[tokio::test]
async fn where_is_queries_every_service_and_reports_missing_replies() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    let drafted = app
        .gateway
        .post("/v1/events")
        .by(&root)
        .wait(0)
        .json(crate::app::draft());
    let operation = drafted.send().await.expect(202).id();
    app.command::<contracts::EventCommand>().await;
    let call = app
        .gateway
        .get(format!("/v1/ops/where-is?id={operation}"))
        .by(&root)
        .wait(2);
    let (response, ()) = tokio::join!(call.send(), async {
        let mut queries = Vec::new();
        while queries.len() < 6 {
            queries.extend(app.commands::<OpsCommand>().await);
        }
        for command in queries {
            let OpsCommand::WhereIs(where_is) = &command.body else {
                panic!("{command:?}");
            };
            assert_eq!(where_is.message_id, operation);
            let reply = match where_is.service.as_str() {
                "audit" => continue,
                "user" => rejected(command.envelope.id, "unsupported", &[]),
                service => replied(command.envelope.id, json!({ "seen_by": service })),
            };
            app.bench.deliver(reply).await;
        }
    });
    let body = response.expect(200).body;
    assert_eq!(body["operation"]["id"], json!(operation));
    assert_eq!(body["services"]["event"], json!({ "seen_by": "event" }));
    assert_eq!(body["services"]["user"], json!({ "problem": "unsupported" }));
    assert_eq!(body["services"]["audit"], json!({ "problem": "no-answer" }));
    assert_eq!(body["services"].as_object().map(serde_json::Map::len), Some(6));
}

#[tokio::test]
async fn commands_of_operators_are_operations_like_other_writes() {
    let app = TestApp::start().await;
    let root = app.admin("root").await;
    for (method, path, body) in ROUTES.into_iter().filter(|(method, ..)| *method == "POST") {
        let send = |wait| {
            let call = app
                .gateway
                .call(Method::from_bytes(method.as_bytes()).expect("a method"), path);
            let call = call.by(&root).wait(wait).header("idempotency-key", path);
            call.raw("application/json", body).send()
        };
        let (response, ()) = tokio::join!(send(10), async {
            let command = app.command::<OpsCommand>().await;
            assert_eq!(command.body.service(), "user");
            app.bench
                .deliver(replied(command.envelope.id, json!({ "applied": 1 })))
                .await;
            app.bench.deliver_again().await;
        });
        let response = response.expect(202);
        assert_eq!(response.body["status"], "succeeded", "{path}");
        assert!(response.headers.get("retry-after").is_none(), "{path}");
        assert_eq!(response.body["result"], json!({ "applied": 1 }), "{path}");
        assert_eq!(send(0).await.expect(202).id(), response.id(), "{path} again");
        app.assert_not_published::<OpsCommand>().await;
        let wrong = body.replacen("\"user\"", "\"weather\"", 1);
        let call = app.gateway.post(path).by(&root).raw("application/json", wrong);
        assert_eq!(call.send().await.expect(422).field_errors(), [("service", "unknown")]);
        let call = app
            .gateway
            .post(path)
            .by(&root)
            .json(json!({ "service": "user", "force": true }));
        call.send().await.expect(422);
    }
    let topic = json!({ "service": "user", "topic": "weather", "key": Uuid::now_v7() });
    let call = app.gateway.post("/v1/ops/parked/release").by(&root).json(topic);
    assert_eq!(call.send().await.expect(422).field_errors(), [("topic", "unknown")]);
    app.gateway
        .post("/v1/ops/dead-letters/x/redrive")
        .by(&root)
        .send()
        .await
        .expect(404);
}

fn create_admin(user_id: Uuid) -> CreateAdmin {
    CreateAdmin {
        user_id,
        email: "grace@example.org".to_owned(),
        username: "grace".to_owned(),
        full_name: "Grace Hopper".to_owned(),
        date_of_birth: Date::from_ymd(1906, 12, 9).expect("a day"),
        time_zone: "America/New_York".to_owned(),
    }
}

#[tokio::test]
async fn an_admin_created_by_an_operator_sets_a_password_with_a_link_sent_by_e_mail() {
    let app = TestApp::start().await;
    let user = Uuid::now_v7();
    let reply = app
        .bench
        .request(Outgoing::<OpsCommand>::new(user, create_admin(user)))
        .await;
    let Reply::CommandAccepted(CommandAccepted {
        result: Some(result), ..
    }) = reply
    else {
        panic!("{reply:?}");
    };
    let result: Value = serde_json::from_str(&result).expect("JSON");
    assert_eq!(result["user_id"], json!(user));
    app.bench.deliver_again().await;
    app.users_accept().await;
    app.bench.deliver_again().await;
    let operation = result["operation_id"].as_str().expect("an id");
    let done = app
        .gateway
        .get(format!("/v1/operations/{operation}"))
        .send()
        .await
        .expect(200);
    assert_eq!(done.body["status"], "succeeded");
    let [SecurityFact::RoleGranted(granted)] = &app.security_facts().await[..] else {
        panic!("exactly one role must be granted");
    };
    assert_eq!(
        (granted.user_id, granted.role, granted.granted_by),
        (user, GrantedRole::Admin, None)
    );

    app.sign_in("grace").await.expect(401);
    let mail = app.command::<NotificationCommand>().await.body;
    let path = format!("/v1/password-resets/{}", token(&mail, "grace@example.org"));
    let password = json!({ "password": crate::app::PASSWORD });
    app.gateway.put(path).json(password).send().await.expect(204);
    assert_eq!(
        app.sign_in("grace").await.expect(201).body["roles"],
        json!(["member", "admin"])
    );

    let again = app
        .bench
        .request(Outgoing::<OpsCommand>::new(user, create_admin(user)))
        .await;
    assert!(matches!(again, Reply::CommandRejected(rejected) if rejected.code == "already-exists"));
}

#[tokio::test]
async fn an_admin_that_the_user_service_rejects_is_not_created() {
    let app = TestApp::start().await;
    let user = Uuid::now_v7();
    app.bench
        .request(Outgoing::<OpsCommand>::new(user, create_admin(user)))
        .await;
    app.reject_next::<UserCommand>("email-taken").await;
    app.bench.deliver_again().await;
    assert_eq!(app.count("SELECT count(*) FROM roles").await, 0);
    assert_eq!(app.count("SELECT count(*) FROM credentials").await, 0);
    app.assert_not_published::<NotificationCommand>().await;
}

#[tokio::test]
async fn an_operator_grants_a_role_once() {
    let app = TestApp::start().await;
    let ada = app.person("ada").await;
    let grant = |user_id, role| Outgoing::<OpsCommand>::new(Uuid::now_v7(), GrantRole { user_id, role });
    let reply = app.bench.request(grant(ada.id, GrantedRole::Organizer)).await;
    assert!(matches!(reply, Reply::CommandAccepted(_)));
    app.bench.deliver_again().await;
    assert!(matches!(
        &app.security_facts().await[..],
        [SecurityFact::RoleGranted(_)]
    ));
    let reply = app.bench.request(grant(ada.id, GrantedRole::Organizer)).await;
    assert!(matches!(reply, Reply::CommandAccepted(_)));
    assert!(
        app.bench.published_with_envelopes::<SecurityFact>().await.is_empty(),
        "the user already has the role"
    );
    for (user, role, code) in [
        (Uuid::now_v7(), GrantedRole::Organizer, "user-unknown"),
        (ada.id, GrantedRole::Unknown, "role-unknown"),
    ] {
        let reply = app.bench.request(grant(user, role)).await;
        assert!(matches!(reply, Reply::CommandRejected(rejected) if rejected.code == code));
    }
    testing::eventually("the role takes effect", Duration::from_secs(3), || async {
        let me = app.gateway.get("/v1/me").by(&ada).send().await;
        (me.body["roles"] == json!(["member", "organizer"])).then_some(())
    })
    .await;
}
