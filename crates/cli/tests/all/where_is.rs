//! `rollcall where-is` with records, positions and replies of simulated services.

use std::collections::HashSet;

use contracts::{
    Assignment, DeactivateUser, OpsCommand, Reply, Timestamp, UserCommand, UserDeactivated, UserEvent, WhereIs, topics,
};
use messaging::Headers;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rollcall::{Rollcall, envelope, status};
use crate::services::{Services, accepted, accepted_with};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An operation: a command, its domain event and its reply.
struct Journey {
    operation: Uuid,
    command: Uuid,
    event: Uuid,
    event_at: (i32, i64),
}

/// Publishes the messages of an operation, and a command of another operation.
async fn journey(rollcall: &Rollcall) -> Journey {
    let (operation, user) = (Uuid::now_v7(), Uuid::now_v7());
    let mut command = envelope("gateway", user, operation);
    command.trace_parent = Some(format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let mut event = envelope("user", user, operation);
    event.causation_id = Some(command.id);
    event.sequence = Some(2);
    event.trace_parent = Some(format!("00-{TRACE}-00f067aa0ba902b8-01"));
    let mut reply = envelope("user", operation, operation);
    reply.causation_id = Some(command.id);
    let journey = |event_at| Journey {
        operation,
        command: command.id,
        event: event.id,
        event_at,
    };

    let accepted: Reply = accepted_with(&command, "");
    let reason = || "on request".to_owned();
    let deactivated = UserDeactivated {
        reason: reason(),
        deactivated_at: Timestamp::now(),
    };
    rollcall
        .publish(command.clone(), UserCommand::from(DeactivateUser { reason: reason() }))
        .await;
    let event_at = rollcall.publish(event.clone(), UserEvent::from(deactivated)).await;
    rollcall.publish(reply, accepted).await;
    let other = envelope("gateway", user, Uuid::now_v7());
    rollcall
        .publish(other, UserCommand::from(DeactivateUser { reason: reason() }))
        .await;
    journey(event_at)
}

/// Reports a process of `service` whose position on the event's partition is `position`.
async fn report_position(rollcall: &Rollcall, service: &str, partition: i32, position: i64) {
    let mut status = status(service, Timestamp::now());
    status.assignments = vec![Assignment {
        topic: topics::USERS.name.to_owned(),
        partition,
        position,
        lag: 0,
        lag_ms: None,
    }];
    rollcall.report(&status).await;
}

#[tokio::test]
async fn the_records_of_an_operation_are_shown_with_their_state_at_each_subscriber() {
    let rollcall = Rollcall::with_every_topic().await;
    let Journey {
        operation,
        command,
        event,
        event_at: (partition, offset),
    } = journey(&rollcall).await;
    report_position(&rollcall, "audit", partition, offset + 1).await;
    report_position(&rollcall, "registration", partition, offset).await;
    report_position(&rollcall, "gateway", partition, offset + 1).await;
    report_position(&rollcall, "notification", partition, offset + 1).await;
    let services = Services::simulate(&rollcall, &[], move |envelope, command| {
        let result = match command.service() {
            "notification" => json!({ "parked": [{ "message_id": event, "error": "no template" }], "mails": [] }),
            "gateway" => json!({ "dead_letters": [], "operation": { "state": "succeeded" } }),
            _ => json!({ "outbox": [], "inbox": [], "parked": [], "dead_letters": [] }),
        };
        accepted(envelope, &result)
    })
    .await;
    let id = operation.to_string();

    let output = rollcall.run(&["where-is", &id, "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let json = output.json();
    let records = json["records"].as_array().cloned().expect("a list");
    let tree: Vec<_> = records
        .iter()
        .map(|record| (record["depth"].as_i64(), record["topic"].as_str()))
        .collect();
    assert_eq!(
        tree,
        [
            (Some(0), Some("users.commands")),
            (Some(1), Some("users")),
            (Some(1), Some("gateway.replies"))
        ]
    );
    assert_eq!(records[0]["message_id"], json!(command));
    let user = &records[1];
    assert_eq!(
        (&user["partition"], &user["offset"], &user["sequence"]),
        (&json!(partition), &json!(offset), &json!(2))
    );
    let expected = json!({
        "audit": "applied", "gateway": "applied", "notification": "parked", "registration": "ahead",
    });
    assert_eq!(user["subscribers"], expected);
    assert_eq!(json["traces"], json!([TRACE]));
    let received: Vec<_> = services.received().into_iter().map(|(_, command)| command).collect();
    let request = |service: &str| {
        let service = service.to_owned();
        OpsCommand::from(WhereIs {
            service,
            message_id: operation,
        })
    };
    assert_eq!(
        received,
        ["audit", "gateway", "notification", "registration"].map(request)
    );

    let text = rollcall
        .command(&["where-is", &id])
        .env_remove("JAEGER_QUERY_URL")
        .output()
        .expect("rollcall starts");
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    for part in [
        format!("{id}: 3 records"),
        format!("└─ UserDeactivated #2, by user: users[{partition}]@{offset}, "),
        "→ audit: applied, gateway: applied, notification: PARKED, registration: not yet".to_owned(),
        "notification\n  parked\n    ".to_owned(),
        "gateway\n  operation\n    state  succeeded".to_owned(),
        format!("rollcall trace {TRACE}"),
    ] {
        assert!(text.contains(&part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_message_is_found_with_its_consequences() {
    let rollcall = Rollcall::with_every_topic().await;
    let Journey { command, event, .. } = journey(&rollcall).await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(envelope, &json!({ "inbox": [0] }))
    })
    .await;
    let records = |id: Uuid| -> Vec<Value> {
        let output = rollcall.run(&["where-is", &id.to_string(), "--json"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.json()["records"].as_array().cloned().expect("a list")
    };
    assert_eq!(records(command).len(), 3);
    let [only] = records(event).try_into().expect("one record");
    assert_eq!(only["type"], "rollcall.users.UserDeactivated");
}

#[tokio::test]
async fn an_unknown_id_leads_to_exit_code_1() {
    let rollcall = Rollcall::with_every_topic().await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(envelope, &json!({ "parked": [] }))
    })
    .await;
    let id = Uuid::now_v7().to_string();
    let output = rollcall.run(&["where-is", &id]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.starts_with(&format!("no record of {id} found from ")),
        "{output:?}"
    );

    // An id that is not a UUIDv7 contains no time.
    let output = rollcall.run(&["where-is", "c0ffee00-0000-4000-8000-000000000000"]);
    assert_eq!(
        (output.code, output.stdout.contains("--since")),
        (Some(1), true),
        "{output:?}"
    );
}

#[tokio::test]
async fn records_are_found_while_no_service_runs() {
    let rollcall = Rollcall::with_every_topic().await;
    let Journey { operation, .. } = journey(&rollcall).await;
    let output = rollcall.run(&["where-is", &operation.to_string(), "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.json()["records"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn records_are_found_beside_one_whose_header_name_is_not_utf8() {
    let rollcall = Rollcall::with_every_topic().await;
    let hostile = Headers(vec![(testing::invalid_utf8(), "value".to_owned())]);
    let mut partitions = HashSet::new();
    while partitions.len() < topics::USERS.partitions as usize {
        let topic = rollcall.settings.topic_prefix.clone() + topics::USERS.name;
        let (partition, _) = rollcall.send(&topic, Uuid::new_v4(), None, hostile.clone()).await;
        partitions.insert(partition);
    }
    let Journey { operation, .. } = journey(&rollcall).await;
    let output = rollcall.run(&["where-is", &operation.to_string(), "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.json()["records"].as_array().map(Vec::len), Some(3));
}
