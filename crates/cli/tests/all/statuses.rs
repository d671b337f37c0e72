//! `rollcall status` and `rollcall lag`, which read `ops.status`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use contracts::{ProcessStatus, Timestamp, topics};
use messaging::Headers;
use serde_json::json;

use crate::rollcall::{Rollcall, status};

#[tokio::test]
async fn status_shows_the_newest_report_of_each_process() {
    let rollcall = Rollcall::with_topics().await;
    let empty = rollcall.run(&["status"]);
    assert_eq!(empty.code, Some(1), "{empty:?}");
    assert!(empty.stdout.starts_with("no process has reported"), "{empty:?}");

    let now = Timestamp::now();
    let stale = status("event", now - Duration::from_secs(60));
    let user = status("user", now);
    let mut before = user.clone();
    before.reported_at = now - Duration::from_secs(3);
    before.outbox_rows = 99;
    for status in [&stale, &user, &before] {
        rollcall.report(status).await; // relays may publish out of order
    }
    let stopped = status("audit", now);
    rollcall.report(&stopped).await;
    let topic = topics::OPS_STATUS.full_name(&rollcall.settings.topic_prefix);
    rollcall.send(&topic, stopped.instance, None, Headers::default()).await;

    let output = rollcall.run(&["status", "--json"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let row = |status: &ProcessStatus, state: &str| {
        json!({
            "service": status.service, "instance": status.instance, "version": "0.1.0", "state": state,
            "started_at": status.started_at.to_string(), "reported_at": status.reported_at.to_string(),
            "lag_messages": 24, "lag_ms": 110, "outbox_rows": 3, "outbox_oldest_age_ms": 40,
            "parked_keys": 1, "oldest_gap_age_ms": 90_000, "dead_letters": 7,
        })
    };
    assert_eq!(
        output.json(),
        json!({ "processes": [row(&stale, "stale"), row(&user, "ready")], "down": ["event"] })
    );

    let text = rollcall.run(&["status"]).stdout;
    assert!(
        text.contains("stale: last report 1 min ago") && text.ends_with("services without a ready process: event\n"),
        "{text}"
    );

    rollcall.report(&status("event", Timestamp::now())).await;
    let output = rollcall.run(&["status"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn watch_shows_new_reports() {
    let rollcall = Rollcall::with_topics().await;
    let mut watched = status("user", Timestamp::now());
    rollcall.report(&watched).await;
    let mut watch = rollcall
        .command(&["status", "--watch", "--every", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("rollcall starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut rows_now = || {
        let line = lines.next().expect("one line a second").expect("UTF-8");
        let output: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        output["processes"][0]["outbox_rows"].clone()
    };
    assert_eq!(rows_now(), 3);
    watched.reported_at = Timestamp::now();
    watched.outbox_rows = 4;
    rollcall.report(&watched).await;
    // The reading of the second next line begins after the report.
    let seen = [rows_now(), rows_now()];
    watch.kill().expect("rollcall is running");
    watch.wait().expect("rollcall has ended");
    assert_eq!(seen[1], 4, "{seen:?}");
}

#[tokio::test]
async fn lag_lists_the_partitions_that_no_process_consumes() {
    let rollcall = Rollcall::with_topics().await;
    let mut user = status("user", Timestamp::now());
    rollcall.report(&user).await;
    let output = rollcall.run(&["lag"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let cells: Vec<_> = output
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        cells,
        [
            vec!["SERVICE", "TOPIC", "PARTITIONS", "LAG", "BEHIND"],
            vec!["user", "users.commands", "12", "24", "110.0", "ms"]
        ]
    );

    user.reported_at = Timestamp::now();
    user.assignments.pop();
    rollcall.report(&user).await;
    let output = rollcall.run(&["lag", "--json", "--service", "user", "--topic", "users.commands"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let rows = output.json()["partitions"].clone();
    assert_eq!(
        rows[10],
        json!({ "service": "user", "topic": "users.commands", "partition": 10, "process": user.instance, "position": 5,
                "lag_messages": 2, "lag_ms": 100 })
    );
    assert_eq!(rows[11]["process"], json!(null));
    let output = rollcall.run(&["lag", "--partitions"]);
    assert_eq!(
        (output.code, output.stdout.contains("none")),
        (Some(1), true),
        "{output:?}"
    );
    assert_eq!(rollcall.run(&["lag", "--service", "usr"]).code, Some(1));
}
