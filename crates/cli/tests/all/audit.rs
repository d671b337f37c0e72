//! `rollcall audit`: the log as a file. The files beside are what the audit service's own tests make and verify too.

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

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("rollcall-cli-{}", Uuid::now_v7()));
        fs::create_dir(&folder).expect("a folder can be made");
        Self(folder)
    }

    fn file(&self, content: &str) -> String {
        let name = self.0.join("export.jsonl");
        fs::write(&name, content).expect("a file can be written");
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

    let answer = rollcall.run(&["audit", "verify", &file]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(
        answer.stdout.contains("is whole: 9 entries in 3 trees, 2 checkpoints"),
        "{answer:?}"
    );

    let report = rollcall.run(&["audit", "verify", &file, "--json"]).json();
    assert_eq!((&report["valid"], &report["findings"]), (&json!(true), &json!([])));
    assert_eq!(report["key_ids"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_was_changed_is_listed_and_the_exit_code_says_no() {
    let (rollcall, folder) = (Rollcall::new(), Folder::new());
    let file = folder.file(&EXPORT.replacen("1970-01-01", "1971-01-01", 1));

    let answer = rollcall.run(&["audit", "verify", &file]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stdout.contains("is NOT what was signed"), "{answer:?}");
    assert!(
        answer
            .stdout
            .contains("  line 6: the content is not what the leaf has hashed"),
        "{answer:?}"
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
async fn the_log_is_asked_for_page_by_page_and_written_whole() {
    let (rollcall, folder) = (Rollcall::with_every_topic().await, Folder::new());
    rollcall.report(&status("audit", Timestamp::now())).await;
    let audit = Audit::play(&rollcall, EXPORT);
    let out = folder.file("an older one");

    let answer = rollcall.run_beside(&["audit", "export", "--out", &out]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(
        answer.stdout.starts_with("9 entries and 2 checkpoints are in "),
        "{answer:?}"
    );
    assert_eq!(fs::read_to_string(&out).expect("it is there"), EXPORT);
    audit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_checkpoint_the_file_stays_as_it_was() {
    let (rollcall, folder) = (Rollcall::with_every_topic().await, Folder::new());
    rollcall.report(&status("audit", Timestamp::now())).await;
    let audit = Audit::play(&rollcall, "");
    let out = folder.file("an older one");

    let answer = rollcall.run_beside(&["audit", "export", "--out", &out]).await;
    assert_eq!(answer.code, Some(69), "{answer:?}");
    assert!(answer.stderr.contains("the log has no checkpoint yet"), "{answer:?}");
    assert_eq!(fs::read_to_string(&out).expect("it is there"), "an older one");
    assert_eq!(
        fs::read_dir(&folder.0).expect("a folder").count(),
        1,
        "nothing is left beside it"
    );
    audit.stop().await;
}

/// Plays the audit service: it has what is in a file.
struct Audit {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Audit {
    fn play(rollcall: &Rollcall, export: &'static str) -> Self {
        let lines: Vec<Value> = export
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (until, settings) = (Arc::clone(&stop), rollcall.settings.clone());
        let producer = crate::rollcall::producer(&settings);
        let task = tokio::spawn(async move {
            let mut partitions = TopicPartitionList::new();
            let topic = topics::AUDIT_QUERIES.full_name(&settings.topic_prefix);
            for partition in 0..topics::AUDIT_QUERIES.partitions {
                let added = partitions.add_partition_offset(&topic, partition, Offset::Beginning);
                added.expect("it has this partition");
            }
            // Reading by assignment, and the client wants a name of a group all the same.
            let mut config = settings.client();
            config
                .set("group.id", "cli-tests")
                .set("enable.auto.commit", "false")
                .set("fetch.wait.max.ms", "20");
            let consumer: BaseConsumer = config.create().expect("a consumer");
            consumer.assign(&partitions).expect("it can be assigned");
            let consumer = Arc::new(consumer);
            while !until.load(Ordering::Relaxed) {
                // A topic that was just made has no leader yet: librdkafka tries again by itself.
                let from = Arc::clone(&consumer);
                let poll = move || Some(from.poll(Duration::from_millis(20))?.ok()?.detach());
                let Some(message) = tokio::task::spawn_blocking(poll).await.expect("it does not panic") else {
                    continue;
                };
                let text = |name: &str| {
                    let mut headers = message.headers().expect("headers").iter();
                    let header = headers.find(|header| header.key == name).expect("the header");
                    String::from_utf8(header.value.expect("a value").to_vec()).expect("UTF-8")
                };
                let value = message.payload().expect("a value");
                let question = AuditQuery::decode(&codec().await, &text(header::TYPE), value).expect("it decodes");
                let operation = text(header::CORRELATION_ID).parse().expect("a UUID");
                let reply = Reply::from(CommandAccepted {
                    command_id: text(header::ID).parse().expect("a UUID"),
                    version: 0,
                    effects: Vec::new(),
                    result: Some(answer(&lines, &question.expect("a question")).to_string()),
                });
                let envelope = envelope("audit", operation, operation);
                crate::rollcall::say(&producer, &settings.topic_prefix, envelope, reply).await;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("it answered whatever it was asked");
    }
}

fn answer(lines: &[Value], question: &AuditQuery) -> Value {
    let of = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    match question {
        AuditQuery::FindCheckpoints(_) => {
            let public_key = of("key").next().map(|key| &key["public_key"]);
            let checkpoints = of("checkpoint").map(|checkpoint| {
                let text = checkpoint["text"].as_str().expect("a text");
                json!({
                    "text": text,
                    "signature": checkpoint["signature"],
                    "key_id": of("key").next().map(|key| &key["key_id"]),
                    "public_key": public_key,
                    "heads": text.lines().skip(6).map(head).collect::<Vec<_>>(),
                })
            });
            let mut checkpoints: Vec<_> = checkpoints.collect();
            checkpoints.reverse();
            json!({ "checkpoints": checkpoints, "next_cursor": null })
        }
        AuditQuery::ReadAuditLog(question) => {
            let is_asked = |line: &&Value| {
                line["topic"] == question.topic.as_str()
                    && line["partition"] == question.partition
                    && line["index"].as_i64() >= Some(question.from)
            };
            // Small pages.
            let entries: Vec<_> = of("entry").filter(is_asked).take(3).collect();
            let next = question.from + entries.len() as i64;
            json!({ "entries": entries, "next": next })
        }
        other => panic!("an export asks no {other:?}"),
    }
}

fn head(line: &str) -> Value {
    let words: Vec<_> = line.split(' ').collect();
    let number = |word: &str| -> i64 { word.parse().expect("a number") };
    json!({ "topic": words[0], "partition": number(words[1]), "size": number(words[2]), "root": words[3] })
}
