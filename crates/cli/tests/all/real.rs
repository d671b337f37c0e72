//! Operations at a real service: the one of the conformance suite, on Postgres and Kafka.

use std::time::{Duration, Instant};

use chassis::Supervisor;
use messaging::kafka::Settings;
use messaging::{Messaging, Outgoing};
use serde_json::{Value, json};
use testing::FaultyLedger;
use testing::conformance::{Hooks, OnPostgres, Store as _, happened, order, subscriptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::rollcall::{Answer, Rollcall, env, envelope};

const NAME: &str = "conformance";

/// A process of the service, until it is stopped.
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
            let registry = env("SCHEMA_REGISTRY_URL");
            let messaging = Messaging::connect(&process, settings, &registry, ledger).await?;
            messaging.spawn(&process, subscriptions(&store, &hooks)).await?;
            Ok(())
        };
        let mut stopped = Some(stopped);
        let asked = async move || match stopped.take() {
            Some(stopped) => {
                let _ = stopped.await;
                "the test ends"
            }
            None => std::future::pending().await,
        };
        let ended = tokio::spawn(supervisor.supervise(run, asked));
        Self { stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        assert_eq!(self.ended.await.expect("no panic"), chassis::Exit::Success);
    }
}

/// Runs the command until it answers so.
async fn until(rollcall: &Rollcall, arguments: &[&str], is_it: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = rollcall.run_beside(arguments).await;
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{arguments:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rows(answer: &Answer) -> Vec<Value> {
    answer.json()["rows"].as_array().cloned().expect("a list")
}

async fn say<M: contracts::Message>(rollcall: &Rollcall, message: Outgoing<M>, key: Uuid, sequence: Option<i64>) {
    let mut envelope = envelope("test", key, Uuid::now_v7());
    envelope.sequence = sequence;
    rollcall.say(envelope, message.body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_a_real_service_is_found_shown_released_and_sent_again() {
    let rollcall = Rollcall::with_every_topic().await;
    let hooks = Hooks::default();
    let service = Running::start(rollcall.settings.clone(), &hooks).await;
    until(&rollcall, &["status"], |answer| answer.code == Some(0)).await;

    let (counter, event) = (Uuid::now_v7(), Uuid::now_v7());
    say(&rollcall, order(counter, "poison:counter"), counter, None).await;
    say(&rollcall, happened(event, 1, "poison:event"), event, Some(1)).await;
    let parked = until(&rollcall, &["parked", "list", "--json"], |answer| {
        rows(answer).len() == 1
    })
    .await;
    let dead = until(&rollcall, &["dead-letters", "list", "--json"], |answer| {
        rows(answer).len() == 1
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
    let letter = &rows(&dead)[0];
    assert_eq!(
        (&letter["topic"], &letter["reason"]),
        (&json!("users.commands"), &json!("POISON"))
    );
    let id = letter["id"].as_str().expect("an id").to_owned();
    let shown = rollcall
        .run_beside(&["dead-letters", "show", NAME, &id, "--json"])
        .await;
    assert_eq!(
        shown.json()["result"]["content"]["reason"],
        json!("poison:counter"),
        "{shown:?}"
    );

    hooks.fix("counter");
    hooks.fix("event");
    let event = event.to_string();
    let released = rollcall
        .run_beside(&["parked", "release", NAME, "events", &event])
        .await;
    assert_eq!(released.code, Some(0), "{released:?}");
    assert!(
        released.stdout.contains("applied 1 parked message of events"),
        "{released:?}"
    );
    let again = rollcall
        .run_beside(&["parked", "release", NAME, "events", &event, "--json"])
        .await;
    assert_eq!(
        (again.code, &again.json()["code"]),
        (Some(1), &json!("not-parked")),
        "{again:?}"
    );
    assert_eq!(rollcall.run_beside(&["parked", "list"]).await.code, Some(0));

    let redriven = rollcall
        .run_beside(&["dead-letters", "redrive", NAME, &id, "--json"])
        .await;
    assert_eq!(redriven.code, Some(0), "{redriven:?}");
    let command = redriven.json()["result"]["command_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let went = until(&rollcall, &["where-is", &command, "--json"], |answer| {
        answer.json()["records"].as_array().is_some_and(|records| {
            let is_event = |record: &Value| record["topic"] == "users" && record["sequence"] == 1;
            records.iter().any(is_event)
        })
    })
    .await;
    let command_record = went.json()["records"][0].clone();
    assert_eq!(
        (&command_record["topic"], &command_record["message_id"]),
        (&json!("users.commands"), &json!(command))
    );

    let discarded = rollcall.run_beside(&["dead-letters", "discard", NAME, &id]).await;
    assert_eq!((discarded.code, discarded.stdout), (Some(0), format!("{id} is gone\n")));
    let unsupported = rollcall.run_beside(&["snapshots", "verify", NAME, "--json"]).await;
    assert_eq!(
        (unsupported.code, &unsupported.json()["code"]),
        (Some(1), &json!("unsupported")),
        "{unsupported:?}"
    );

    service.stop().await;
    let gone = until(&rollcall, &["status"], |answer| {
        answer.stdout.starts_with("no process has ever")
    })
    .await;
    assert_eq!(gone.code, Some(1), "its last word is that it is gone");
}
