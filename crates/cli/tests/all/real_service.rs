//! Ops commands to a real service: that of the conformance suite, on Postgres and Kafka.

use std::time::{Duration, Instant};

use chassis::Supervisor;
use chassis::settings::{Url, Value as _};
use messaging::kafka::Settings;
use messaging::{Messaging, Outgoing};
use serde_json::{Value, json};
use testing::FaultyLedger;
use testing::conformance::{Hooks, OnPostgres, Store as _, happened, order, subscriptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::rollcall::{Rollcall, RunOutput, env, envelope};

const NAME: &str = "conformance";

/// A running process of the service.
struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<chassis::Exit>,
}

impl Running {
    async fn start(settings: Settings, hooks: &Hooks) -> Self {
        let store = OnPostgres::fresh().await;
        let supervisor = Supervisor::new(NAME, "0.0.0", Duration::from_secs(20));
        let (process, hooks) = (supervisor.process().clone(), hooks.clone());
        let (stop, stopped) = oneshot::channel();
        let run = async move {
            let ledger = FaultyLedger::new(store.ledger());
            let settings = messaging::Settings {
                registry: registry_url(),
                kafka: settings,
            };
            let messaging = Messaging::connect(&process, settings, ledger).await?;
            messaging.spawn(&process, subscriptions(&store, &hooks)).await?;
            Ok(())
        };
        let mut stopped = Some(stopped);
        let stop_requested = async move || match stopped.take() {
            Some(stopped) => {
                let _ = stopped.await;
                "the test has ended"
            }
            None => std::future::pending().await,
        };
        let ended = tokio::spawn(supervisor.supervise(run, stop_requested));
        Self { stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).expect("the process is running");
        assert_eq!(self.ended.await.expect("no panic"), chassis::Exit::Success);
    }
}

fn registry_url() -> Url {
    let name = "SCHEMA_REGISTRY_URL";
    Url::parse(name, &env(name)).expect("SCHEMA_REGISTRY_URL is a URL")
}

/// Runs the command until its output meets the condition.
async fn until(rollcall: &Rollcall, arguments: &[&str], condition: impl Fn(&RunOutput) -> bool) -> RunOutput {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let output = rollcall.run_async(arguments).await;
        if condition(&output) {
            return output;
        }
        assert!(Instant::now() < deadline, "{arguments:?}: {output:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rows(output: &RunOutput) -> Vec<Value> {
    output.json()["rows"].as_array().cloned().expect("a list")
}

async fn publish<M: contracts::Message>(rollcall: &Rollcall, message: Outgoing<M>, key: Uuid, sequence: Option<i64>) {
    let mut envelope = envelope("test", key, Uuid::now_v7());
    envelope.sequence = sequence;
    rollcall.publish(envelope, message.body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_and_dead_lettered_messages_are_listed_shown_released_and_redriven() {
    let rollcall = Rollcall::with_every_topic().await;
    let hooks = Hooks::default();
    let service = Running::start(rollcall.settings.clone(), &hooks).await;
    until(&rollcall, &["status"], |output| output.code == Some(0)).await;

    let (counter, event) = (Uuid::now_v7(), Uuid::now_v7());
    publish(&rollcall, order(counter, "poison:counter"), counter, None).await;
    publish(&rollcall, happened(event, 1, "poison:event"), event, Some(1)).await;
    let parked = until(&rollcall, &["parked", "list", "--json"], |output| {
        rows(output).len() == 1
    })
    .await;
    let dead = until(&rollcall, &["dead-letters", "list", "--json"], |output| {
        rows(output).len() == 1
    })
    .await;

    let key = &rows(&parked)[0];
    let expected = (json!(NAME), json!("events"), json!(event), json!(1));
    assert_eq!(
        (
            key["service"].clone(),
            key["topic"].clone(),
            key["key"].clone(),
            key["poisoned_at"].clone()
        ),
        expected
    );
    let dead_letter = &rows(&dead)[0];
    assert_eq!(
        (&dead_letter["topic"], &dead_letter["reason"]),
        (&json!("users.commands"), &json!("POISON"))
    );
    let id = dead_letter["id"].as_str().expect("an id").to_owned();
    let shown = rollcall.run_async(&["dead-letters", "show", NAME, &id, "--json"]).await;
    assert_eq!(
        shown.json()["result"]["content"]["reason"],
        json!("poison:counter"),
        "{shown:?}"
    );

    hooks.fix("counter");
    hooks.fix("event");
    let event = event.to_string();
    let released = rollcall.run_async(&["parked", "release", NAME, "events", &event]).await;
    assert_eq!(released.code, Some(0), "{released:?}");
    assert!(
        released.stdout.contains("applied 1 parked message of events"),
        "{released:?}"
    );
    let again = rollcall
        .run_async(&["parked", "release", NAME, "events", &event, "--json"])
        .await;
    assert_eq!(
        (again.code, &again.json()["code"]),
        (Some(1), &json!("not-parked")),
        "{again:?}"
    );
    assert_eq!(rollcall.run_async(&["parked", "list"]).await.code, Some(0));

    let redriven = rollcall
        .run_async(&["dead-letters", "redrive", NAME, &id, "--json"])
        .await;
    assert_eq!(redriven.code, Some(0), "{redriven:?}");
    let command = redriven.json()["result"]["command_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let found = until(&rollcall, &["where-is", &command, "--json"], |output| {
        output.json()["records"].as_array().is_some_and(|records| {
            let is_event = |record: &Value| record["topic"] == "users" && record["sequence"] == 1;
            records.iter().any(is_event)
        })
    })
    .await;
    let command_record = found.json()["records"][0].clone();
    assert_eq!(
        (&command_record["topic"], &command_record["message_id"]),
        (&json!("users.commands"), &json!(command))
    );

    let discarded = rollcall.run_async(&["dead-letters", "discard", NAME, &id]).await;
    assert_eq!(
        (discarded.code, discarded.stdout),
        (Some(0), format!("dead letter {id} discarded\n"))
    );
    let unsupported = rollcall.run_async(&["snapshots", "verify", NAME, "--json"]).await;
    assert_eq!(
        (unsupported.code, &unsupported.json()["code"]),
        (Some(1), &json!("unsupported")),
        "{unsupported:?}"
    );

    service.stop().await;
    let stopped = until(&rollcall, &["status"], |output| {
        output.stdout.starts_with("no process has reported")
    })
    .await;
    assert_eq!(stopped.code, Some(1), "a stopping process deletes its status report");
}
