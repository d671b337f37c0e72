//! Answers that no service should give.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::rollcall::Rollcall;
use crate::services::{Say, Services, accepted, accepted_with};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

const SHOW: [&str; 4] = ["dead-letters", "show", "user", KEY];

#[tokio::test]
async fn a_result_that_is_no_json_is_shown_as_it_is() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user"], |command, _| {
        vec![Say::Reply(accepted_with(command, "{ \u{1b}[2J not: json"))]
    })
    .await;
    let answer = rollcall.run(&SHOW);
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(0), "{  [2J not: json\n"),
        "{answer:?}"
    );
    let answer = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(
        (answer.code, &answer.json()["result"]),
        (Some(0), &json!("{ \u{1b}[2J not: json")),
        "{answer:?}"
    );
    let listed = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(
        listed.json()["rows"][0]["row"],
        json!("{ \u{1b}[2J not: json"),
        "{listed:?}"
    );
}

#[tokio::test]
async fn a_reply_that_can_not_be_read_is_69() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user", "event"], |command, asked| match asked.service() {
        "user" => vec![Say::Raw(
            "rollcall.gateway.replies.CommandAccepted",
            Some(Bytes::from_static(b"\0\0\0\0\x01rubbish")),
        )],
        _ => accepted(command, &json!({ "rows": [{ "id": KEY }] })),
    })
    .await;
    let answer = rollcall.run(&SHOW);
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("user answered with a rollcall.gateway.replies.CommandAccepted that"),
        "{answer:?}"
    );

    // What the others say is not lost with it.
    let listed = rollcall.run(&["dead-letters", "list", "--json"]);
    assert_eq!(listed.code, Some(69), "{listed:?}");
    assert_eq!(listed.json()["rows"], json!([{ "service": "event", "id": KEY }]));
    assert_eq!(listed.json()["unanswered"][0]["outcome"], "unreadable");
}

#[tokio::test]
async fn a_reply_of_a_later_version_and_one_without_a_value_are_69() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user", "event"], |_, asked| match asked.service() {
        "user" => vec![Say::Raw(
            "rollcall.gateway.replies.CommandPostponed",
            Some(Bytes::from_static(b"\0\0\0\0\x01")),
        )],
        _ => vec![Say::Raw("rollcall.gateway.replies.CommandAccepted", None)],
    })
    .await;
    for service in ["user", "event"] {
        let answer = rollcall.run(&["dead-letters", "show", service, KEY]);
        assert_eq!(answer.code, Some(69), "{answer:?}");
        assert!(
            answer
                .stderr
                .contains(&format!("{service} answered with a rollcall.gateway.replies.Command")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn who_is_silent_is_waited_for_no_longer_than_was_said() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::play(&rollcall, &["user", "event"], |command, asked| match asked.service() {
        "user" => Vec::new(),
        _ => accepted(command, &json!({ "rows": [] })),
    })
    .await;
    let started = Instant::now();
    let answer = rollcall.run(&[&SHOW[..], &["--timeout", "1"]].concat());
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(
        answer.stdout.is_empty() && answer.stderr.contains("user did not answer within 1 s"),
        "{answer:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));

    let listed = rollcall.run(&["parked", "list", "--timeout", "1"]);
    assert_eq!(listed.code, Some(69), "{listed:?}");
    assert!(listed.stdout.contains("user does not answer"), "{listed:?}");
}

#[tokio::test]
async fn a_list_that_never_ends_ends() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::play(&rollcall, &["user"], |command, _| {
        accepted(
            command,
            &json!({ "keys": [{ "key": KEY }], "cursor": "again", "after_version": 0, "next_version": 1 }),
        )
    })
    .await;
    let answer = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(answer.json()["rows"].as_array().map(Vec::len), Some(2), "{answer:?}");
    assert_eq!(services.taken().len(), 2);
    // A history that does not go on, and neither does what is published again.
    let answer = rollcall.run(&["history", "user", KEY]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(services.taken().len(), 3);
    let answer = rollcall.run(&["republish", "user", KEY, "--from", "1"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(services.taken().len(), 4);
}
