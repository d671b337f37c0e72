//! `rollcall audit`: export and verification. `audit/export.jsonl` was written by the tests of the audit service.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contracts::{AuditQuery, CommandAccepted, Message as _, Reply, Timestamp, topics};
use messaging::header;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rollcall::{Rollcall, codec, envelope, status};

const EXPORT: &str = include_str!("audit/export.jsonl");

/// Folder of one test, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("rollcall-cli-{}", Uuid::now_v7()));
        fs::create_dir(&folder).expect("the folder can be created");
        Self(folder)
    }

    fn file(&self, content: &str) -> String {
        let name = self.0.join("export.jsonl");
        fs::write(&name, content).expect("the file can be written");
        name.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_export_is_verified_without_any_service() {
    let (rollcall, folder) = (Rollcall::new(), Folder::new());
    let file = folder.file(EXPORT);

    let output = rollcall.run(&["audit", "verify", &file]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("is valid: 9 entries in 3 trees, 2 checkpoints"),
        "{output:?}"
    );

    let report = rollcall.run(&["audit", "verify", &file, "--json"]).json();
    assert_eq!((&report["valid"], &report["findings"]), (&json!(true), &json!([])));
    assert_eq!(report["key_ids"].as_array().map(Vec::len), Some(1));
}

#[test]
fn changes_are_listed_and_the_exit_code_is_1() {
    let (rollcall, folder) = (Rollcall::new(), Folder::new());
    let file = folder.file(&EXPORT.replacen("1970-01-01", "1971-01-01", 1));

    let output = rollcall.run(&["audit", "verify", &file]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("does NOT match what was signed"), "{output:?}");
    assert!(
        output
            .stdout
            .contains("  line 6: the content does not match its hash in the leaf"),
        "{output:?}"
    );

    let report = rollcall.run(&["audit", "verify", &file, "--json"]).json();
    assert_eq!(
        (&report["valid"], &report["findings"][0]["line"]),
        (&json!(false), &json!(6))
    );
    assert_eq!(
        rollcall.run(&["audit", "verify", "/nowhere/export.jsonl"]).code,
        Some(69)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_read_page_by_page_and_written_completely() {
    let (rollcall, folder) = (Rollcall::with_every_topic().await, Folder::new());
    rollcall.report(&status("audit", Timestamp::now())).await;
    let audit = AuditService::simulate(&rollcall, EXPORT);
    let out = folder.file("an older one");

    let output = rollcall.run_async(&["audit", "export", "--out", &out]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.starts_with("wrote 9 entries and 2 checkpoints to "),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(&out).expect("the file exists"), EXPORT);
    audit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_unchanged_if_the_log_has_no_checkpoint() {
    let (rollcall, folder) = (Rollcall::with_every_topic().await, Folder::new());
    rollcall.report(&status("audit", Timestamp::now())).await;
    let audit = AuditService::simulate(&rollcall, "");
    let out = folder.file("an older one");

    let output = rollcall.run_async(&["audit", "export", "--out", &out]).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(
        output.stderr.contains("the audit log has no checkpoint yet"),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(&out).expect("the file exists"), "an older one");
    assert_eq!(
        fs::read_dir(&folder.0).expect("a folder").count(),
        1,
        "no incomplete file is left"
    );
    audit.stop().await;
}

/// A simulated audit service with the content of an export.
struct AuditService {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl AuditService {
    fn simulate(rollcall: &Rollcall, export: &'static str) -> Self {
        let lines: Vec<Value> = export
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, settings) = (Arc::clone(&stop), rollcall.settings.clone());
        let producer = crate::rollcall::producer(&settings);
        let task = tokio::spawn(async move {
            let mut partitions = TopicPartitionList::new();
            let topic = topics::AUDIT_QUERIES.full_name(&settings.topic_prefix);
            for partition in 0..topics::AUDIT_QUERIES.partitions {
                let added = partitions.add_partition_offset(&topic, partition, Offset::Beginning);
                added.expect("the topic has this partition");
            }
            // The client requires a group id even for manual assignment.
            let mut config = settings.client();
            config
                .set("group.id", "cli-tests")
                .set("enable.auto.commit", "false")
                .set("fetch.wait.max.ms", "20");
            let consumer: BaseConsumer = config.create().expect("a consumer");
            consumer.assign(&partitions).expect("the partitions can be assigned");
            let consumer = Arc::new(consumer);
            while !stopped.load(Ordering::Relaxed) {
                // A new topic has no leader yet, and librdkafka retries by itself.
                let consumer = Arc::clone(&consumer);
                let poll = move || Some(consumer.poll(Duration::from_millis(20))?.ok()?.detach());
                let Some(message) = tokio::task::spawn_blocking(poll).await.expect("polling does not panic") else {
                    continue;
                };
                let text = |name: &str| {
                    let mut headers = message.headers().expect("headers").iter();
                    let header = headers.find(|header| header.key == name).expect("the header");
                    String::from_utf8(header.value.expect("a value").to_vec()).expect("UTF-8")
                };
                let value = message.payload().expect("a value");
                let query = AuditQuery::decode(&codec().await, &text(header::TYPE), value).expect("a valid query");
                let operation = text(header::CORRELATION_ID).parse().expect("a UUID");
                let reply = Reply::from(CommandAccepted {
                    command_id: text(header::ID).parse().expect("a UUID"),
                    version: 0,
                    effects: Vec::new(),
                    result: Some(result(&lines, &query.expect("a query")).to_string()),
                });
                let envelope = envelope("audit", operation, operation);
                crate::rollcall::publish(&producer, &settings.topic_prefix, envelope, reply).await;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the simulated service replied to every query");
    }
}

fn result(lines: &[Value], query: &AuditQuery) -> Value {
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    match query {
        AuditQuery::FindCheckpoints(_) => {
            let public_key = of_kind("key").next().map(|key| &key["public_key"]);
            let checkpoints = of_kind("checkpoint").map(|checkpoint| {
                let text = checkpoint["text"].as_str().expect("a string");
                json!({
                    "text": text,
                    "signature": checkpoint["signature"],
                    "key_id": of_kind("key").next().map(|key| &key["key_id"]),
                    "public_key": public_key,
                    "heads": text.lines().skip(6).map(head).collect::<Vec<_>>(),
                })
            });
            let mut checkpoints: Vec<_> = checkpoints.collect();
            checkpoints.reverse();
            json!({ "checkpoints": checkpoints, "next_cursor": null })
        }
        AuditQuery::ReadAuditLog(read) => {
            let matches = |line: &&Value| {
                line["topic"] == read.topic.as_str()
                    && line["partition"] == read.partition
                    && line["index"].as_i64() >= Some(read.from)
            };
            // Small pages, so the export needs several.
            let entries: Vec<_> = of_kind("entry").filter(matches).take(3).collect();
            let next = read.from + entries.len() as i64;
            json!({ "entries": entries, "next": next })
        }
        other => panic!("an export does not send {other:?}"),
    }
}

fn head(line: &str) -> Value {
    let words: Vec<_> = line.split(' ').collect();
    let number = |word: &str| -> i64 { word.parse().expect("a number") };
    json!({ "topic": words[0], "partition": number(words[1]), "size": number(words[2]), "root": words[3] })
}
