use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use chassis::{Admin, Exit, Process, Supervisor};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::send;

/// Longer than any test may take, so a test that waits for it fails.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<&'static str>>>);

impl EventLog {
    fn record(&self, line: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Spawns a consumer and a relay that record their end.
fn spawn_both(process: &Process, log: &EventLog) {
    let (inputs, consumer_log) = (process.inputs_token(), log.clone());
    process.spawn_input("consumer", async move {
        inputs.cancelled().await;
        // If outputs were cancelled together with inputs, the relay would end here before the consumer.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        consumer_log.record("consumer drained");
        Ok(())
    });
    let (outputs, relay_log) = (process.outputs_token(), log.clone());
    process.spawn_output("relay", async move {
        outputs.cancelled().await;
        relay_log.record("relay drained");
        Ok(())
    });
}

fn signals() -> (UnboundedSender<&'static str>, UnboundedReceiver<&'static str>) {
    unbounded_channel()
}

async fn next(signals: &mut UnboundedReceiver<&'static str>) -> &'static str {
    match signals.recv().await {
        Some(signal) => signal,
        None => pending().await,
    }
}

#[tokio::test]
async fn inputs_are_drained_before_outputs() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let (process, log) = (supervisor.process().clone(), EventLog::default());
    let (stop, mut signals) = signals();
    let run = async {
        spawn_both(&process, &log);
        stop.send("the test ends").expect("the receiver is alive");
        Ok(())
    };
    let exit = supervisor.supervise(run, async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Success);
    assert_eq!(log.lines(), ["consumer drained", "relay drained"]);
}

#[tokio::test]
async fn a_task_that_ends_unexpectedly_is_a_failure_and_the_others_are_drained() {
    type End = fn() -> anyhow::Result<()>;
    let ends: [End; 3] = [
        || Ok(()),
        || bail!("the broker is unreachable"),
        || panic!("unknown partition"),
    ];
    for end in ends {
        let supervisor = Supervisor::new("test", "0", GRACE);
        let (process, log) = (supervisor.process().clone(), EventLog::default());
        let run = async {
            spawn_both(&process, &log);
            process.spawn_input("timer", async move { end() });
            Ok(())
        };
        let exit = supervisor.supervise(run, async || pending().await).await;
        assert_eq!(exit, Exit::Internal);
        assert_eq!(log.lines(), ["consumer drained", "relay drained"]);
    }
}

#[tokio::test]
async fn an_output_that_ends_unexpectedly_is_a_failure() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let (process, log) = (supervisor.process().clone(), EventLog::default());
    let run = async {
        spawn_both(&process, &log);
        process.spawn_output("lease", async { bail!("the lease is lost") });
        Ok(())
    };
    let exit = supervisor.supervise(run, async || pending().await).await;
    assert_eq!(exit, Exit::Internal);
    assert_eq!(log.lines(), ["consumer drained", "relay drained"]);
}

#[tokio::test]
async fn an_output_that_ends_while_inputs_are_drained_is_a_failure() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let process = supervisor.process().clone();
    let (stop, mut signals) = signals();
    let run = async {
        let (inputs, relay_ended) = (process.inputs_token(), process.outputs_token());
        let ended = relay_ended.clone();
        process.spawn_output("relay", async move {
            inputs.cancelled().await;
            ended.cancel();
            Ok(())
        });
        let inputs = process.inputs_token();
        process.spawn_input("consumer", async move {
            inputs.cancelled().await;
            relay_ended.cancelled().await;
            Ok(())
        });
        stop.send("the test ends").expect("the receiver is alive");
        Ok(())
    };
    let exit = supervisor.supervise(run, async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Internal);
}

#[tokio::test]
async fn a_service_that_cannot_start_drains_the_tasks_it_has_spawned() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let (process, log) = (supervisor.process().clone(), EventLog::default());
    let run = async {
        spawn_both(&process, &log);
        let inputs = process.inputs_token();
        process.spawn_input("timer", async move {
            inputs.cancelled().await;
            bail!("a later failure")
        });
        Err(anyhow!("a topic is missing"))
    };
    let exit = supervisor.supervise(run, async || pending().await).await;
    assert_eq!(exit, Exit::Unavailable);
    assert_eq!(log.lines(), ["consumer drained", "relay drained"]);
}

#[tokio::test]
async fn a_service_can_be_stopped_while_it_starts() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let (stop, mut signals) = signals();
    stop.send("the test ends").expect("the receiver is alive");
    let exit = supervisor.supervise(pending(), async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Success);
}

#[tokio::test]
async fn a_service_without_tasks_is_a_failure() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let exit = supervisor.supervise(async { Ok(()) }, async || pending().await).await;
    assert_eq!(exit, Exit::Internal);
}

#[tokio::test]
async fn a_task_that_hangs_is_aborted_and_the_relay_is_drained() {
    let supervisor = Supervisor::new("test", "0", Duration::from_secs(1));
    let (process, log) = (supervisor.process().clone(), EventLog::default());
    let (stop, mut signals) = signals();
    let run = async {
        spawn_both(&process, &log);
        process.spawn_input("stuck", pending());
        stop.send("the test ends").expect("the receiver is alive");
        Ok(())
    };
    let exit = supervisor.supervise(run, async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Internal);
    assert_eq!(log.lines(), ["consumer drained", "relay drained"]);
}

#[tokio::test]
async fn a_second_signal_ends_the_grace_period() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let process = supervisor.process().clone();
    let (stop, mut signals) = signals();
    let run = async {
        process.spawn_input("stuck", pending());
        stop.send("the test ends").expect("the receiver is alive");
        stop.send("the test ends now").expect("the receiver is alive");
        Ok(())
    };
    let started = Instant::now();
    let exit = supervisor.supervise(run, async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Internal);
    assert!(started.elapsed() < GRACE / 2);
}

#[tokio::test]
async fn a_process_is_ready_from_its_boot_until_its_drain() {
    let supervisor = Supervisor::new("test", "0", GRACE);
    let process = supervisor.process().clone();
    let admin = Admin::bind("127.0.0.1:0".parse().expect("an address"))
        .await
        .expect("a free port");
    let address = admin.address();
    tokio::spawn(admin.serve(process.health(), process.metrics().clone(), pending()));

    let (stop, mut signals) = signals();
    let run = async {
        let starting = send(address, "GET /ready").await;
        assert_eq!(
            (starting.status, starting.json()["phase"].as_str()),
            (503, Some("starting"))
        );

        let (health, inputs) = (process.health(), process.inputs_token());
        process.spawn_input("probe", async move {
            while !health.is_ready() {
                tokio::task::yield_now().await;
            }
            assert_eq!(send(address, "GET /ready").await.status, 200);
            let postgres = health.check("postgres");
            assert_eq!(send(address, "GET /ready").await.status, 503);
            postgres.up();
            assert_eq!(send(address, "GET /ready").await.status, 200);
            stop.send("the test ends").expect("the receiver is alive");
            inputs.cancelled().await;
            let draining = send(address, "GET /ready").await;
            assert_eq!(
                (draining.status, draining.json()["phase"].as_str()),
                (503, Some("draining"))
            );
            assert_eq!(send(address, "GET /health").await.status, 200);
            Ok(())
        });
        Ok(())
    };
    let exit = supervisor.supervise(run, async || next(&mut signals).await).await;
    assert_eq!(exit, Exit::Success, "an assertion in the task failed");
}

#[tokio::test]
async fn every_run_has_its_own_instance_id() {
    let [one, two] = [(); 2].map(|()| Supervisor::new("test", "0", GRACE).process().instance());
    assert_ne!(one, two);
    assert_eq!(one.get_version_num(), 7);
}
