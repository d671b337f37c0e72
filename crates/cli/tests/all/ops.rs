//! Subcommands that publish ops commands and show the replies of simulated services.

use std::time::Duration;

use contracts::security::Role;
use contracts::{
    Actor, CommandRejected, CreateAdmin, Date, DiscardDeadLetter, DiscardParked, FieldError, GrantRole, OpsCommand,
    ReadAggregate, RedriveDeadLetter, ReleaseKey, Replay, Reply, Republish, ShowDeadLetter, SkipOffset, Timestamp,
    VerifySnapshots, topics,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rollcall::Rollcall;
use crate::services::{Response, Services, accepted, accepted_with, rejected};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn key() -> Uuid {
    KEY.parse().expect("a key")
}

#[tokio::test]
async fn a_release_shows_the_number_of_applied_messages() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        let reply = || accepted_with(envelope, r#"{"applied":3,"poisoned_at":null}"#);
        // A reply to another operation comes first, and Kafka delivers the reply twice.
        vec![
            Response::ToOtherOperation(Uuid::now_v7(), reply()),
            Response::Reply(reply()),
            Response::Reply(reply()),
        ]
    });
    let services = services.await;

    let output = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let json = output.json();
    let [(envelope, command)] = services.received().try_into().expect("one command");
    let release = ReleaseKey {
        service: "user".to_owned(),
        topic: "users".to_owned(),
        parked_key: key(),
    };
    assert_eq!(command, OpsCommand::ReleaseKey(release));
    assert_eq!(json["operation"], json!(envelope.correlation_id));
    assert_eq!(
        (&json["outcome"], &json["result"]["applied"]),
        (&json!("accepted"), &json!(3))
    );
    let trace = json["trace"].as_str().expect("a trace id");
    assert!(
        envelope
            .trace_parent
            .as_deref()
            .is_some_and(|parent| parent.contains(trace)),
        "{envelope:?}"
    );
    assert_eq!(envelope.key, envelope.correlation_id);
    assert_eq!(envelope.source, "/rollcall/cli");
    assert_eq!(envelope.actor, Some(Actor::service("cli")));
    assert_eq!(
        envelope.reply_to,
        Some(topics::GATEWAY_REPLIES.full_name(&rollcall.settings.topic_prefix))
    );

    let client: BaseConsumer = rollcall.settings.client().create().expect("a client");
    let groups = client
        .fetch_group_list(None, Duration::from_secs(5))
        .expect("the groups");
    let joined = groups
        .groups()
        .iter()
        .any(|group| group.name().contains("rollcall-cli"));
    assert!(!joined, "rollcall joined a consumer group");
}

#[tokio::test]
async fn a_release_that_stops_at_another_poison_message_leads_to_exit_code_1() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(envelope, &json!({ "applied": 1, "poisoned_at": 9 }))
    })
    .await;
    let output = rollcall.run(&["parked", "release", "user", "users", KEY]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("applied 1 parked message") && output.stdout.contains("sequence 9"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_skip_names_the_record_and_the_reason() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(envelope, &json!({ "position": 42 }))
    })
    .await;
    let record = ["skip", "user", "users.commands", "3", "41"];
    let output = rollcall.run(&[&record[..], &["--reason", "its schema is broken"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(
        output.stdout,
        "user continues after offset 41 of users.commands[3]; the record had no effect\n"
    );
    let skip = SkipOffset {
        service: "user".to_owned(),
        topic: "users.commands".to_owned(),
        partition: 3,
        offset: 41,
        reason: "its schema is broken".to_owned(),
    };
    assert_eq!(services.received_one(), OpsCommand::SkipOffset(skip));

    for invalid in [
        &record[..],
        &[&record[..], &["--reason", ""]].concat(),
        &["skip", "user", "no-topic", "3", "41", "--reason", "x"],
        &["skip", "user", "users.commands", "-1", "41", "--reason", "x"],
    ] {
        let output = rollcall.run(invalid);
        assert_eq!(output.code, Some(64), "{output:?}");
    }
    services.received_one();
}

#[tokio::test]
async fn a_parked_record_is_discarded_with_a_reason() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["notification"], |envelope, _| {
        accepted(envelope, &json!({ "message_id": KEY, "last": 1, "poisoned_at": null }))
    })
    .await;
    let record = ["parked", "discard", "notification", "users", KEY, "2"];
    let output = rollcall.run(&[&record[..], &["--message-id", KEY, "--reason", "malformed"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(
        output.stdout,
        format!(
            "notification discarded record 2 of users for {KEY}; `rollcall republish user {KEY} --from 2` publishes the \
             domain event of the journal in its place\n"
        )
    );
    let discard = DiscardParked {
        service: "notification".to_owned(),
        topic: "users".to_owned(),
        parked_key: key(),
        sequence: 2,
        message_id: Some(key()),
        reason: "malformed".to_owned(),
    };
    assert_eq!(services.received_one(), OpsCommand::DiscardParked(discard));

    let without_reason = rollcall.run(&record);
    assert_eq!(without_reason.code, Some(64), "{without_reason:?}");
}

#[tokio::test]
async fn a_rejection_shows_code_detail_and_field_errors() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, command| match command {
        OpsCommand::ReleaseKey(_) => rejected(envelope, "not-parked", "no messages of users are parked for this key"),
        _ => {
            let mut responses = rejected(envelope, "invalid", "The range is invalid.");
            if let [Response::Reply(Reply::CommandRejected(rejected))] = responses.as_mut_slice() {
                rejected.errors.push(FieldError {
                    field: "from_version".to_owned(),
                    code: "too-high".to_owned(),
                    message: "There are 3 versions.".to_owned(),
                });
            }
            responses
        }
    })
    .await;
    let output = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(
        (output.code, &output.json()["code"]),
        (Some(1), &json!("not-parked")),
        "{output:?}"
    );
    let output = rollcall.run(&["republish", "user", KEY, "--from", "7"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(
        output.stdout,
        "user rejected the request: The range is invalid. (invalid)\n  from_version: There are 3 versions. (too-high)\n"
    );
}

#[tokio::test]
async fn no_command_is_published_if_the_service_is_not_running_or_the_topic_is_unknown() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |_, _| Vec::new()).await;
    let output = rollcall.run(&["parked", "release", "usr", "users", KEY]);
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("running services: user"), "{output:?}");
    let output = rollcall.run(&["dead-letters", "list", "usr"]);
    assert_eq!(output.code, Some(69), "{output:?}");
    let output = rollcall.run(&["parked", "release", "user", "userz", KEY]);
    assert_eq!(output.code, Some(64), "{output:?}");
    assert!(services.received().is_empty());
}

/// Returns a page of two rows, in the field `rows`.
fn page(rows: &str, names: &[&str], cursor: Option<&String>, row: impl Fn(&str) -> Value) -> Value {
    let start = cursor.map_or(0, |cursor| cursor.parse().expect("a cursor of a previous page"));
    let end = names.len().min(start + 2);
    let page: Vec<_> = names[start..end].iter().map(|name| row(name)).collect();
    json!({ rows: page, "cursor": (end < names.len()).then(|| end.to_string()) })
}

fn parked(key: &str) -> Value {
    json!({
        "topic": "users", "key": key, "last": 3, "poisoned_at": 4, "waiting": 2, "age_ms": 61_000,
        "error": "no such event",
    })
}

#[tokio::test]
async fn parked_keys_of_all_services_are_listed_page_by_page() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["event", "user"], |envelope, command| {
        let OpsCommand::FindParked(find) = command else {
            panic!("{command:?}");
        };
        let names: &[&str] = match find.service.as_str() {
            "user" => &["a", "b", "c"],
            _ => &[],
        };
        accepted(envelope, &page("keys", names, find.cursor.as_ref(), parked))
    })
    .await;

    let output = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let row = |key: &str| {
        let mut row = parked(key);
        row["service"] = json!("user");
        row
    };
    assert_eq!(
        output.json(),
        json!({ "rows": [row("a"), row("b"), row("c")], "more": [], "unsuccessful": [] })
    );
    assert_eq!(services.received().len(), 3, "one page of event, two of user");

    let text = rollcall.run(&["parked", "list", "user", "--limit", "2"]).stdout;
    let line = |key: &str| format!("user     users  {key}       3            4        2  1 min  no such event\n");
    assert_eq!(
        text,
        format!(
            "SERVICE  TOPIC  KEY  LAST  POISONED AT  WAITING    AGE  ERROR\n{}{}\n2 keys; more at user (raise --limit)\n",
            line("a"),
            line("b")
        )
    );

    let nothing = rollcall.run(&["parked", "list", "event"]);
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (Some(0), "0 keys\n"),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_redriven_and_discarded() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, command| {
        let result = match command {
            OpsCommand::FindDeadLetters(find) => page(
                "dead_letters",
                &["x"],
                find.cursor.as_ref(),
                |_| json!({ "id": KEY, "topic": "users.commands", "reason": "POISON", "redriven_as": null }),
            ),
            OpsCommand::ShowDeadLetter(_) => {
                json!({ "id": KEY, "headers": { "ce_type": "x" }, "bytes": 9, "content": { "a": 1 } })
            }
            OpsCommand::RedriveDeadLetter(_) => json!({ "command_id": KEY }),
            _ => json!({ "discarded": KEY }),
        };
        accepted(envelope, &result)
    })
    .await;
    let run = |subcommand: &str| rollcall.run(&["dead-letters", subcommand, "user", KEY]);

    let list = rollcall.run(&["dead-letters", "list"]);
    assert_eq!(list.code, Some(1), "{list:?}");
    assert!(
        list.stdout.contains(KEY) && list.stdout.ends_with("\n1 dead letter\n"),
        "{list:?}"
    );

    let shown = run("show");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("headers\n  ce_type  x\n"), "{shown:?}");
    let redriven = run("redrive");
    assert!(
        redriven.code == Some(0)
            && redriven
                .stdout
                .starts_with(&format!("published again as command {KEY}; ")),
        "{redriven:?}"
    );
    let discarded = run("discard");
    assert_eq!(
        (discarded.code, discarded.stdout),
        (Some(0), format!("dead letter {KEY} discarded\n"))
    );

    let (service, dead_letter_id) = ("user".to_owned(), key());
    let received: Vec<_> = services
        .received()
        .into_iter()
        .skip(1)
        .map(|(_, command)| command)
        .collect();
    let expected: [OpsCommand; 3] = [
        ShowDeadLetter {
            service: service.clone(),
            dead_letter_id,
        }
        .into(),
        RedriveDeadLetter {
            service: service.clone(),
            dead_letter_id,
        }
        .into(),
        DiscardDeadLetter {
            service,
            dead_letter_id,
        }
        .into(),
    ];
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_history_is_read_to_its_end() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, command| {
        let OpsCommand::ReadHistory(read) = command else {
            panic!("{command:?}");
        };
        let last = (read.after_version + i64::from(read.limit).min(2)).min(5);
        let versions = (read.after_version + 1)..=last;
        let events: Vec<_> = versions
            .map(|version| json!({ "version": version, "type": "UserChanged", "content": {} }))
            .collect();
        let next = (last < 5).then_some(last);
        accepted(
            envelope,
            &json!({ "version": 5, "events": events, "after_version": next }),
        )
    })
    .await;
    let versions = |arguments: &[&str]| -> (Option<i32>, Vec<i64>) {
        let output = rollcall.run(&[&["history", "user", KEY, "--json"], arguments].concat());
        let events = output.json()["events"].as_array().cloned().expect("a list");
        (
            output.code,
            events
                .iter()
                .map(|event| event["version"].as_i64().expect("a number"))
                .collect(),
        )
    };
    assert_eq!(versions(&[]), (Some(0), vec![1, 2, 3, 4, 5]));
    assert_eq!(versions(&["--after", "3"]), (Some(0), vec![4, 5]));
    assert_eq!(versions(&["--after", "5"]), (Some(1), vec![]));
    assert_eq!(versions(&["--limit", "2"]), (Some(0), vec![1, 2]));
}

#[tokio::test]
async fn an_aggregate_is_shown_at_a_version_or_time() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(
            envelope,
            &json!({ "version": 2, "newest_version": 3, "state": { "status": "active" } }),
        )
    })
    .await;
    let read = |version, at: Option<&str>| -> OpsCommand {
        let read = ReadAggregate {
            service: "user".to_owned(),
            aggregate_id: key(),
            version,
            at: at.map(|at| Timestamp::parse(at).expect("a time")),
        };
        read.into()
    };
    let at = "2026-03-01T12:00:00Z";
    for (arguments, expected) in [
        (&["--version", "2"][..], read(Some(2), None)),
        (&["--at", at], read(None, Some(at))),
        (&["--now"], read(None, None)),
    ] {
        let output = rollcall.run(&[&["history", "user", KEY], arguments].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains("state\n  status  active\n"), "{output:?}");
        assert_eq!(services.received().pop().map(|(_, command)| command), Some(expected));
    }
    let both = rollcall.run(&["history", "user", KEY, "--version", "2", "--now"]);
    assert_eq!(both.code, Some(64), "{both:?}");
}

#[tokio::test]
async fn republishing_is_requested_repeatedly_up_to_the_last_version() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, command| {
        let OpsCommand::Republish(republish) = command else {
            panic!("{command:?}");
        };
        let next = (republish.from_version < 5).then_some(republish.from_version + 2);
        accepted(envelope, &json!({ "published": 2, "next_version": next }))
    })
    .await;
    let output = rollcall.run(&["republish", "user", KEY, "--from", "2", "--to", "7", "--json"]);
    assert_eq!(
        (output.code, &output.json()["result"]),
        (Some(0), &json!({ "published": 6 })),
        "{output:?}"
    );
    let republish = |from_version| Republish {
        service: "user".to_owned(),
        aggregate_id: key(),
        from_version,
        to_version: Some(7),
    };
    let received: Vec<_> = services.received().into_iter().map(|(_, command)| command).collect();
    assert_eq!(received, [2, 4, 6].map(|from| OpsCommand::from(republish(from))));

    let backwards = rollcall.run(&["republish", "user", KEY, "--from", "4", "--to", "2"]);
    assert_eq!(backwards.code, Some(64), "{backwards:?}");
}

#[tokio::test]
async fn a_snapshot_mismatch_or_an_incomplete_check_leads_to_exit_code_1() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["event", "user", "registration"], |envelope, command| {
        let (checked, mismatches) = match command.service() {
            "event" => (3, json!([{ "aggregate_id": KEY, "version": 500 }])),
            "user" => (2, json!([])),
            _ => (3, json!([])),
        };
        let verified = json!({ "snapshots": 3, "checked": checked, "unreadable": 1, "mismatches": mismatches });
        accepted(envelope, &verified)
    })
    .await;
    let run = |service: &str| rollcall.run(&["snapshots", "verify", service]);
    let old = "; 1 in an older format (not used)";

    let whole = run("registration");
    assert_eq!(
        (whole.code, whole.stdout),
        (Some(0), format!("registration compared 3 of 3 snapshots{old}\n"))
    );
    let other = run("event");
    assert!(other.code == Some(1) && other.stdout.contains(KEY), "{other:?}");
    let part = run("user");
    assert_eq!(
        (part.code, part.stdout),
        (
            Some(1),
            format!("user compared 2 of 3 snapshots{old}; it ran out of time for the others\n")
        )
    );
    let verify = VerifySnapshots {
        service: "user".to_owned(),
    };
    assert_eq!(
        services.received().pop().map(|(_, command)| command),
        Some(verify.into())
    );
}

#[tokio::test]
async fn a_read_model_is_rebuilt() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["gateway"], |envelope, _| {
        accepted(envelope, &json!({ "rows": 12 }))
    })
    .await;
    let output = rollcall.run(&["replay", "gateway", "--projection", "events"]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "gateway has rebuilt events\nrows  12\n"),
        "{output:?}"
    );
    let replay = Replay {
        service: "gateway".to_owned(),
        projection: "events".to_owned(),
    };
    assert_eq!(services.received_one(), replay.into());
}

const ADA: [&str; 10] = [
    "admin",
    "create",
    "--email",
    "ada@example.org",
    "--username",
    "ada",
    "--full-name",
    "Ada L.",
    "--date-of-birth",
    "1990-12-10",
];

#[tokio::test]
async fn an_admin_is_created_and_receives_a_link_to_set_the_password() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["gateway"], |envelope, command| match command {
        OpsCommand::CreateAdmin(_) => {
            let sign_up = Uuid::now_v7();
            let started = json!({ "operation_id": sign_up });
            // The order is not fixed, because the replies are on different partitions.
            vec![
                Response::ToOtherOperation(sign_up, accepted_with(envelope, "")),
                Response::Reply(accepted_with(envelope, &started.to_string())),
            ]
        }
        _ => accepted(envelope, &json!({ "granted": true })),
    })
    .await;
    let output = rollcall.run(&ADA);
    assert_eq!(output.code, Some(0), "{output:?}");
    let OpsCommand::CreateAdmin(create) = services.received_one() else {
        panic!("another command");
    };
    let expected = CreateAdmin {
        user_id: create.user_id,
        email: "ada@example.org".to_owned(),
        username: "ada".to_owned(),
        full_name: "Ada L.".to_owned(),
        date_of_birth: Date::from_ymd(1990, 12, 10).expect("a date"),
        time_zone: "UTC".to_owned(),
    };
    assert_eq!(create, expected);
    let id = create.user_id;
    let mail = "ada@example.org will receive a link to set the password";
    assert_eq!(output.stdout, format!("user {id} is now an admin; {mail}\n"));

    let output = rollcall.run(&["admin", "grant", KEY, "--role", "auditor"]);
    assert_eq!(
        (output.code, output.stdout),
        (Some(0), format!("user {KEY} is now an auditor\n"))
    );
    let grant = GrantRole {
        user_id: key(),
        role: Role::Auditor,
    };
    assert_eq!(
        services.received().pop().map(|(_, command)| command),
        Some(grant.into())
    );
    assert_eq!(rollcall.run(&["admin", "grant", KEY, "--role", "king"]).code, Some(64));
}

#[tokio::test]
async fn creating_an_admin_is_rejected_if_the_address_is_taken() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["gateway"], |envelope, _| {
        let sign_up = Uuid::now_v7();
        let taken = CommandRejected {
            command_id: sign_up,
            code: "email-taken".to_owned(),
            detail: "This address is taken.".to_owned(),
            errors: Vec::new(),
        };
        let started = json!({ "operation_id": sign_up });
        vec![
            Response::Reply(accepted_with(envelope, &started.to_string())),
            Response::ToOtherOperation(sign_up, taken.into()),
        ]
    })
    .await;
    let output = rollcall.run(&ADA);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (
            Some(1),
            "user rejected the request: This address is taken. (email-taken)\n"
        ),
        "{output:?}"
    );
}
