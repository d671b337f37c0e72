//! Supervises the tasks of a process and stops them in an order that loses no work.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::process::{End, Kind, Spawned};
use crate::{Exit, Process};

/// Owns the tasks that a [`Process`] spawns. [`main`](crate::main) creates one. A test can create one too, to run a
/// complete service in the test process.
#[derive(Debug)]
pub struct Supervisor {
    process: Process,
    grace: Duration,
    spawned: mpsc::UnboundedReceiver<Spawned>,
    inputs: Tasks,
    outputs: Tasks,
    exit: Exit,
}

#[derive(Debug, Default)]
struct Tasks {
    running: JoinSet<Ended>,
    aborts: Vec<(&'static str, AbortHandle)>,
}

#[derive(Debug)]
struct Ended {
    name: &'static str,
    end: Result<End, JoinError>,
}

/// Share of the grace period that inputs may use before outputs are stopped.
const INPUTS_SHARE: f64 = 0.7;
/// Maximum time for aborted tasks to end.
const ABORT_TIMEOUT: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Creates a supervisor. `grace` is the maximum duration of the whole drain.
    pub fn new(name: &'static str, version: &'static str, grace: Duration) -> Supervisor {
        let (process, spawned) = Process::new(name, version, grace.mul_f64(INPUTS_SHARE));
        Supervisor {
            process,
            grace,
            spawned,
            inputs: Tasks::default(),
            outputs: Tasks::default(),
            exit: Exit::Success,
        }
    }

    /// Returns the process, which `run` receives.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Awaits `run`, then watches the spawned tasks until `stop` returns or a task ends unexpectedly.
    ///
    /// Then it drains: reports not ready, stops the inputs, stops the outputs. `stop` is called again during the drain;
    /// when it returns a second time, the remaining tasks are aborted immediately.
    pub async fn supervise(
        mut self,
        run: impl Future<Output = anyhow::Result<()>>,
        mut stop: impl AsyncFnMut() -> &'static str,
    ) -> Exit {
        self.watch(run, &mut stop).await;
        self.process.health().draining();
        let mut second_stop = pin!(async {
            let reason = stop().await;
            tracing::warn!("stopping immediately: received {reason} during the drain");
        });
        let end = Instant::now() + self.grace;
        let inputs_end = Instant::now() + self.grace.mul_f64(INPUTS_SHARE);
        let mut stop_immediately = false;
        for (kind, deadline) in [(Kind::Input, inputs_end), (Kind::Output, end)] {
            self.process.cancel(kind);
            let deadline = if stop_immediately { Instant::now() } else { deadline };
            tokio::select! {
                biased;
                () = self.drain(kind, deadline) => {}
                () = &mut second_stop, if !stop_immediately => {
                    stop_immediately = true;
                    self.drain(kind, Instant::now()).await;
                }
            }
        }
        self.exit
    }

    /// Returns when the drain must begin.
    async fn watch(
        &mut self,
        run: impl Future<Output = anyhow::Result<()>>,
        stop: &mut impl AsyncFnMut() -> &'static str,
    ) {
        let mut run = pin!(run);
        let mut stop = pin!(stop());
        let mut booted = false;
        loop {
            tokio::select! {
                biased;
                reason = &mut stop => {
                    tracing::info!("stopping: {reason}");
                    return;
                }
                Some(spawned) = self.spawned.recv() => self.adopt(spawned),
                Some(ended) = next(&mut self.inputs) => return self.ended(ended),
                Some(ended) = next(&mut self.outputs) => return self.ended(ended),
                result = &mut run, if !booted => match result {
                    Ok(()) => {
                        booted = true;
                        self.adopt_pending();
                        if self.inputs.running.is_empty() && self.outputs.running.is_empty() {
                            self.fail(Exit::Internal);
                            tracing::error!("{} has not spawned any task", self.process.name());
                            return;
                        }
                        self.process.health().running();
                        tracing::info!("{} {} is running", self.process.name(), self.process.version());
                    }
                    Err(error) => {
                        self.fail(Exit::Unavailable);
                        let error = format!("{error:#}");
                        tracing::error!(error, "{} cannot start: {error}", self.process.name());
                        return;
                    }
                },
            }
        }
    }

    /// Awaits the tasks of a kind, and aborts those that are still running at the deadline.
    async fn drain(&mut self, kind: Kind, deadline: Instant) {
        loop {
            self.adopt_pending();
            match timeout_at(deadline, next(self.tasks(kind))).await {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) => return,
                Err(_) => return self.abort(kind).await,
            }
        }
    }

    async fn abort(&mut self, kind: Kind) {
        self.fail(Exit::Internal);
        let tasks = self.tasks(kind);
        let stuck = tasks.aborts.iter().filter(|(_, task)| !task.is_finished());
        let names: Vec<_> = stuck.clone().map(|(name, _)| *name).collect();
        stuck.for_each(|(_, task)| task.abort());
        tracing::error!(tasks = ?names, "aborted tasks that did not end in time: {}", names.join(", "));
        // An aborted task ends at its next await. The shutdown of the runtime handles a task that never awaits.
        let ended = async { while next(tasks).await.is_some() {} };
        let _ = timeout(ABORT_TIMEOUT, ended).await;
        tasks.running.detach_all();
    }

    /// Records a failure. Of several failures, the first one determines the exit code, because it is the cause.
    fn fail(&mut self, exit: Exit) {
        if self.exit == Exit::Success {
            self.exit = exit;
        }
    }

    fn tasks(&mut self, kind: Kind) -> &mut Tasks {
        match kind {
            Kind::Input => &mut self.inputs,
            Kind::Output => &mut self.outputs,
        }
    }

    fn adopt_pending(&mut self) {
        while let Ok(spawned) = self.spawned.try_recv() {
            self.adopt(spawned);
        }
    }

    fn adopt(&mut self, Spawned { name, kind, task }: Spawned) {
        let tasks = self.tasks(kind);
        tasks.aborts.push((name, task.abort_handle()));
        tasks.running.spawn(async move { Ended { name, end: task.await } });
    }

    /// Logs the end of a task. An unexpected end makes the exit a failure.
    fn ended(&mut self, Ended { name, end }: Ended) {
        match end {
            Ok(End { result, was_cancelled }) => match result {
                Ok(()) if was_cancelled => return tracing::debug!(task = name, "task {name} is drained"),
                Ok(()) => tracing::error!(task = name, "task {name} ended unexpectedly"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(task = name, error, "task {name} failed: {error}");
                }
            },
            Err(error) => {
                let error = panic_message(error);
                tracing::error!(task = name, error, "task {name} panicked: {error}");
            }
        }
        self.fail(Exit::Internal);
    }
}

/// Waits for the next task that ends. Returns `None` if no task is running.
async fn next(tasks: &mut Tasks) -> Option<Ended> {
    let ended = tasks.running.join_next().await?;
    tasks.aborts.retain(|(_, task)| !task.is_finished());
    Some(ended.expect("the wrapper of a task does not panic"))
}

fn panic_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => panic
                .downcast::<&str>()
                .map_or("no message".to_owned(), |message| (*message).to_owned()),
        },
        Err(error) => error.to_string(),
    }
}
