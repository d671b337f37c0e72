//! Malformed, missing and endless replies of services.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::rollcall::Rollcall;
use crate::services::{Response, Services, accepted, accepted_with};

const KEY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

const SHOW: [&str; 4] = ["dead-letters", "show", "user", KEY];

#[tokio::test]
async fn a_result_that_is_not_json_is_shown_unchanged() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        vec![Response::Reply(accepted_with(envelope, "{ \u{1b}[2J not: json"))]
    })
    .await;
    let output = rollcall.run(&SHOW);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "{  [2J not: json\n"),
        "{output:?}"
    );
    let output = rollcall.run(&["parked", "release", "user", "users", KEY, "--json"]);
    assert_eq!(
        (output.code, &output.json()["result"]),
        (Some(0), &json!("{ \u{1b}[2J not: json")),
        "{output:?}"
    );
    let listed = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(
        listed.json()["rows"][0]["row"],
        json!("{ \u{1b}[2J not: json"),
        "{listed:?}"
    );
}

#[tokio::test]
async fn an_undecodable_reply_leads_to_exit_code_69() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user", "event"], |envelope, command| {
        match command.service() {
            "user" => vec![Response::Raw(
                "rollcall.gateway.replies.CommandAccepted",
                Some(Bytes::from_static(b"\0\0\0\0\x01rubbish")),
            )],
            _ => accepted(envelope, &json!({ "rows": [{ "id": KEY }] })),
        }
    })
    .await;
    let output = rollcall.run(&SHOW);
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(
        output
            .stderr
            .contains("user replied with a rollcall.gateway.replies.CommandAccepted that"),
        "{output:?}"
    );

    // The rows of the other services are still listed.
    let listed = rollcall.run(&["dead-letters", "list", "--json"]);
    assert_eq!(listed.code, Some(69), "{listed:?}");
    assert_eq!(listed.json()["rows"], json!([{ "service": "event", "id": KEY }]));
    assert_eq!(listed.json()["unsuccessful"][0]["outcome"], "unreadable");
}

#[tokio::test]
async fn an_unknown_reply_type_and_a_reply_without_value_lead_to_exit_code_69() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user", "event"], |_, command| match command.service() {
        "user" => vec![Response::Raw(
            "rollcall.gateway.replies.CommandPostponed",
            Some(Bytes::from_static(b"\0\0\0\0\x01")),
        )],
        _ => vec![Response::Raw("rollcall.gateway.replies.CommandAccepted", None)],
    })
    .await;
    for service in ["user", "event"] {
        let output = rollcall.run(&["dead-letters", "show", service, KEY]);
        assert_eq!(output.code, Some(69), "{output:?}");
        assert!(
            output
                .stderr
                .contains(&format!("{service} replied with a rollcall.gateway.replies.Command")),
            "{output:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_reply_is_awaited_until_the_timeout() {
    let rollcall = Rollcall::with_topics().await;
    let _services = Services::simulate(&rollcall, &["user", "event"], |envelope, command| {
        match command.service() {
            "user" => Vec::new(),
            _ => accepted(envelope, &json!({ "rows": [] })),
        }
    })
    .await;
    let started = Instant::now();
    let output = rollcall.run(&[&SHOW[..], &["--timeout", "1"]].concat());
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.contains("user did not reply within 1 s"),
        "{output:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));

    let listed = rollcall.run(&["parked", "list", "--timeout", "1"]);
    assert_eq!(listed.code, Some(69), "{listed:?}");
    assert!(listed.stdout.contains("user did not reply"), "{listed:?}");
}

#[tokio::test]
async fn paging_ends_if_a_service_repeats_a_cursor() {
    let rollcall = Rollcall::with_topics().await;
    let services = Services::simulate(&rollcall, &["user"], |envelope, _| {
        accepted(
            envelope,
            &json!({ "keys": [{ "key": KEY }], "cursor": "again", "after_version": 0, "next_version": 1 }),
        )
    })
    .await;
    let output = rollcall.run(&["parked", "list", "--json"]);
    assert_eq!(output.json()["rows"].as_array().map(Vec::len), Some(2), "{output:?}");
    assert_eq!(services.received().len(), 2);
    // Reading a history and republishing end likewise if their next version does not increase.
    let output = rollcall.run(&["history", "user", KEY]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(services.received().len(), 3);
    let output = rollcall.run(&["republish", "user", KEY, "--from", "1"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(services.received().len(), 4);
}
