//! What says commands on `ops.commands`, and shows the answers. The services are played.

use std::time::Duration;

use contracts::security::Role;
use contracts::{
    Actor, CommandRejected, CreateAdmin, Date, DiscardDeadLetter, FieldError, GrantRole, OpsCommand, ReadAggregate,
    RedriveDeadLetter, ReleaseKey, Replay, Reply, Republish, ShowDeadLetter, SkipOffset, Timestamp, VerifySnapshots,
    topics,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rollcall::Rollcall;
use crate::services::{Say, Services, accepted, accepted_with, rejected};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn key() -> Uuid {
    KEY.parse().expect("a key")
}

#[tokio::test]
async fn a_released_key_is_told_with_what_was_applied() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, _| {
        let reply = || accepted_with(command, r#"{"applied":3,"poisoned_at":null}"#);
        // Somebody else's comes first, and Kafka says things twice.
        vec![
            Say::ToAnother(Uuid::now_v7(), reply()),
            Say::Reply(reply()),
            Say::Reply(reply()),
        ]
    });
    let services = services.await;

    let answer = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let said = answer.json();
    let [(envelope, command)] = services.taken().try_into().expect("one command");
    let release = ReleaseKey {
        service: "user".to_owned(),
        topic: "users".to_owned(),
        parked_key: key(),
    };
    assert_eq!(command, OpsCommand::ReleaseKey(release));
    assert_eq!(said["operation"], json!(envelope.correlation_id));
    assert_eq!(
        (&said["outcome"], &said["result"]["applied"]),
        (&json!("accepted"), &json!(3))
    );
    let trace = said["trace"].as_str().expect("a trace id");
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
    assert!(!joined, "reading joined a group");
}

#[tokio::test]
async fn a_release_that_met_another_poison_is_a_no() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user"], |command, _| {
        accepted(command, &json!({ "applied": 1, "poisoned_at": 9 }))
    })
    .await;
    let answer = rollcall.run(&["parked", "release", "user", "users", KEY]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer.stdout.contains("applied 1 parked message") && answer.stdout.contains("sequence 9"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_skip_names_the_record_and_the_reason() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, _| {
        accepted(command, &json!({ "position": 42 }))
    })
    .await;
    let record = ["skip", "user", "users.commands", "3", "41"];
    let answer = rollcall.run(&[&record[..], &["--reason", "its schema is broken"]].concat());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(
        answer.stdout,
        "user continues after offset 41 of users.commands[3]; the record took no effect\n"
    );
    let skip = SkipOffset {
        service: "user".to_owned(),
        topic: "users.commands".to_owned(),
        partition: 3,
        offset: 41,
        reason: "its schema is broken".to_owned(),
    };
    assert_eq!(services.took(), OpsCommand::SkipOffset(skip));

    for unusable in [
        &record[..],
        &[&record[..], &["--reason", ""]].concat(),
        &["skip", "user", "no-topic", "3", "41", "--reason", "x"],
        &["skip", "user", "users.commands", "-1", "41", "--reason", "x"],
    ] {
        let answer = rollcall.run(unusable);
        assert_eq!(answer.code, Some(64), "{answer:?}");
    }
    services.took();
}

#[tokio::test]
async fn a_refusal_says_why() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user"], |command, asked| match asked {
        OpsCommand::ReleaseKey(_) => rejected(command, "not-parked", "nothing of users is parked for this key"),
        _ => {
            let mut says = rejected(command, "invalid", "It can't be done like this.");
            if let [Say::Reply(Reply::CommandRejected(rejected))] = says.as_mut_slice() {
                rejected.errors.push(FieldError {
                    field: "from_version".to_owned(),
                    code: "too-high".to_owned(),
                    message: "There are 3 versions.".to_owned(),
                });
            }
            says
        }
    })
    .await;
    let answer = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(
        (answer.code, &answer.json()["code"]),
        (Some(1), &json!("not-parked")),
        "{answer:?}"
    );
    let answer = rollcall.run(&["republish", "user", KEY, "--from", "7"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(
        answer.stdout,
        "user rejected it: It can't be done like this. (invalid)\n  from_version: There are 3 versions. (too-high)\n"
    );
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_there() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |_, _| Vec::new()).await;
    let answer = rollcall.run(&["parked", "release", "usr", "users", KEY]);
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(answer.stderr.contains("running are: user"), "{answer:?}");
    let answer = rollcall.run(&["dead-letters", "list", "usr"]);
    assert_eq!(answer.code, Some(69), "{answer:?}");
    let answer = rollcall.run(&["parked", "release", "user", "userz", KEY]);
    assert_eq!(answer.code, Some(64), "{answer:?}");
    assert!(services.taken().is_empty());
}

/// Pages of two rows, under the name that they have in the answer.
fn page(rows: &str, names: &[&str], cursor: Option<&String>, row: impl Fn(&str) -> Value) -> Value {
    let start = cursor.map_or(0, |cursor| cursor.parse().expect("a cursor of ours"));
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
async fn what_is_parked_is_listed_page_by_page_of_every_service() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["event", "user"], |command, asked| {
        let OpsCommand::FindParked(find) = asked else {
            panic!("{asked:?}");
        };
        let names: &[&str] = match find.service.as_str() {
            "user" => &["a", "b", "c"],
            _ => &[],
        };
        accepted(command, &page("keys", names, find.cursor.as_ref(), parked))
    })
    .await;

    let answer = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let row = |key: &str| {
        let mut row = parked(key);
        row["service"] = json!("user");
        row
    };
    assert_eq!(
        answer.json(),
        json!({ "rows": [row("a"), row("b"), row("c")], "more": [], "unanswered": [] })
    );
    assert_eq!(services.taken().len(), 3, "one page of event's, two of user's");

    let text = rollcall.run(&["parked", "list", "user", "--limit", "2"]).stdout;
    let line = |key: &str| format!("user     users  {key}       3            4        2  1 min  no such event\n");
    assert_eq!(
        text,
        format!(
            "SERVICE  TOPIC  KEY  LAST  POISONED AT  WAITING    AGE  ERROR\n{}{}\n2 keys, and there are more at: user\n",
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
async fn a_dead_letter_is_shown_sent_again_or_dropped() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, asked| {
        let result = match asked {
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
        accepted(command, &result)
    })
    .await;
    let run = |what: &str| rollcall.run(&["dead-letters", what, "user", KEY]);

    let list = rollcall.run(&["dead-letters", "list"]);
    assert_eq!(list.code, Some(1), "{list:?}");
    assert!(
        list.stdout.contains(KEY) && list.stdout.ends_with("\n1 dead letter\n"),
        "{list:?}"
    );

    let shown = run("show");
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("headers\n  ce_type  x\n"), "{shown:?}");
    let again = run("redrive");
    assert!(
        again.code == Some(0) && again.stdout.starts_with(&format!("it is said again as {KEY}; ")),
        "{again:?}"
    );
    let dropped = run("discard");
    assert_eq!((dropped.code, dropped.stdout), (Some(0), format!("{KEY} is gone\n")));

    let (service, dead_letter_id) = ("user".to_owned(), key());
    let asked: Vec<_> = services
        .taken()
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
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_history_is_read_to_its_end() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user"], |command, asked| {
        let OpsCommand::ReadHistory(read) = asked else {
            panic!("{asked:?}");
        };
        let last = (read.after_version + i64::from(read.limit).min(2)).min(5);
        let versions = (read.after_version + 1)..=last;
        let events: Vec<_> = versions
            .map(|version| json!({ "version": version, "type": "UserChanged", "content": {} }))
            .collect();
        let next = (last < 5).then_some(last);
        accepted(
            command,
            &json!({ "version": 5, "events": events, "after_version": next }),
        )
    })
    .await;
    let versions = |arguments: &[&str]| -> (Option<i32>, Vec<i64>) {
        let answer = rollcall.run(&[&["history", "user", KEY, "--json"], arguments].concat());
        let events = answer.json()["events"].as_array().cloned().expect("a list");
        (
            answer.code,
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
async fn an_aggregate_is_shown_as_it_was() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, _| {
        accepted(
            command,
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
        let answer = rollcall.run(&[&["history", "user", KEY], arguments].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(answer.stdout.contains("state\n  status  active\n"), "{answer:?}");
        assert_eq!(services.taken().pop().map(|(_, command)| command), Some(expected));
    }
    let both = rollcall.run(&["history", "user", KEY, "--version", "2", "--now"]);
    assert_eq!(both.code, Some(64), "{both:?}");
}

#[tokio::test]
async fn what_is_published_again_is_said_piece_by_piece() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, asked| {
        let OpsCommand::Republish(republish) = asked else {
            panic!("{asked:?}");
        };
        let next = (republish.from_version < 5).then_some(republish.from_version + 2);
        accepted(command, &json!({ "published": 2, "next_version": next }))
    })
    .await;
    let answer = rollcall.run(&["republish", "user", KEY, "--from", "2", "--to", "7", "--json"]);
    assert_eq!(
        (answer.code, &answer.json()["result"]),
        (Some(0), &json!({ "published": 6 })),
        "{answer:?}"
    );
    let republish = |from_version| Republish {
        service: "user".to_owned(),
        aggregate_id: key(),
        from_version,
        to_version: Some(7),
    };
    let asked: Vec<_> = services.taken().into_iter().map(|(_, command)| command).collect();
    assert_eq!(asked, [2, 4, 6].map(|from| OpsCommand::from(republish(from))));

    let backwards = rollcall.run(&["republish", "user", KEY, "--from", "4", "--to", "2"]);
    assert_eq!(backwards.code, Some(64), "{backwards:?}");
}

#[tokio::test]
async fn a_snapshot_that_leads_elsewhere_is_a_no() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["event", "user", "registration"], |command, asked| {
        let (checked, mismatches) = match asked.service() {
            "event" => (3, json!([{ "aggregate_id": KEY, "version": 500 }])),
            "user" => (2, json!([])),
            _ => (3, json!([])),
        };
        let verified = json!({ "snapshots": 3, "checked": checked, "unreadable": 1, "mismatches": mismatches });
        accepted(command, &verified)
    })
    .await;
    let run = |service: &str| rollcall.run(&["snapshots", "verify", service]);
    let old = "; 1 are of an older shape, and not used";

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
            format!("user compared 2 of 3 snapshots{old}; there was no time for more\n")
        )
    );
    let verify = VerifySnapshots {
        service: "user".to_owned(),
    };
    assert_eq!(services.taken().pop().map(|(_, command)| command), Some(verify.into()));
}

#[tokio::test]
async fn a_read_model_is_built_anew() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["gateway"], |command, _| {
        accepted(command, &json!({ "rows": 12 }))
    })
    .await;
    let answer = rollcall.run(&["replay", "gateway", "--projection", "events"]);
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(0), "gateway has built events anew\nrows  12\n"),
        "{answer:?}"
    );
    let replay = Replay {
        service: "gateway".to_owned(),
        projection: "events".to_owned(),
    };
    assert_eq!(services.took(), replay.into());
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
async fn an_admin_is_made_and_the_password_is_a_matter_of_mail() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["gateway"], |command, asked| match asked {
        OpsCommand::CreateAdmin(_) => {
            let sign_up = Uuid::now_v7();
            let taken = json!({ "operation_id": sign_up });
            // In any order: they are on partitions of their own.
            vec![
                Say::ToAnother(sign_up, accepted_with(command, "")),
                Say::Reply(accepted_with(command, &taken.to_string())),
            ]
        }
        _ => accepted(command, &json!({ "granted": true })),
    })
    .await;
    let answer = rollcall.run(&ADA);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let OpsCommand::CreateAdmin(create) = services.took() else {
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
    let mail = "a mail with a link to set the password is on its way to ada@example.org";
    assert_eq!(answer.stdout, format!("{id} is an admin; {mail}\n"));

    let answer = rollcall.run(&["admin", "grant", KEY, "--role", "auditor"]);
    assert_eq!(
        (answer.code, answer.stdout),
        (Some(0), format!("{KEY} is an auditor\n"))
    );
    let grant = GrantRole {
        user_id: key(),
        role: Role::Auditor,
    };
    assert_eq!(services.taken().pop().map(|(_, command)| command), Some(grant.into()));
    assert_eq!(rollcall.run(&["admin", "grant", KEY, "--role", "king"]).code, Some(64));
}

#[tokio::test]
async fn an_admin_whose_address_is_taken_is_refused() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["gateway"], |command, _| {
        let sign_up = Uuid::now_v7();
        let taken = CommandRejected {
            command_id: sign_up,
            code: "email-taken".to_owned(),
            detail: "Somebody has this address.".to_owned(),
            errors: Vec::new(),
        };
        let taken_up = json!({ "operation_id": sign_up });
        vec![
            Say::Reply(accepted_with(command, &taken_up.to_string())),
            Say::ToAnother(sign_up, taken.into()),
        ]
    })
    .await;
    let answer = rollcall.run(&ADA);
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(1), "user rejected it: Somebody has this address. (email-taken)\n"),
        "{answer:?}"
    );
}
