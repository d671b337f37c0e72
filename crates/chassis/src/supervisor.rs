//! Watches a process's tasks, and stops them in an order that loses nothing.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::process::{End, Kind, Spawned};
use crate::{Exit, Process};

/// Owns the tasks that a [`Process`] spawns. [`main`](crate::main) makes one; a test can, too, to run a
/// whole service in itself.
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

/// Of the grace period, the part that inputs may use up before outputs get their turn.
const INPUTS_SHARE: f64 = 0.7;
/// How long aborted tasks may take to notice.
const ABORT: Duration = Duration::from_millis(100);

impl Supervisor {
    /// `grace`: how long stopping may take, all in all.
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

    /// What `run` is handed.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Awaits `run`, then watches the tasks it spawned until `stop` says so or one of them ends by itself;
    /// then drains: not ready, inputs, outputs. A second `stop` cuts the grace period short.
    ///
    /// `stop` is called again after each answer, as a signal handler's `recv` would be.
    pub async fn supervise(
        mut self,
        run: impl Future<Output = anyhow::Result<()>>,
        mut stop: impl AsyncFnMut() -> &'static str,
    ) -> Exit {
        self.watch(run, &mut stop).await;
        self.process.health().draining();
        let mut hurry = pin!(async {
            let reason = stop().await;
            tracing::warn!("stopping at once: {reason} while draining");
        });
        let end = Instant::now() + self.grace;
        let inputs_end = Instant::now() + self.grace.mul_f64(INPUTS_SHARE);
        let mut in_a_hurry = false;
        for (kind, deadline) in [(Kind::Input, inputs_end), (Kind::Output, end)] {
            self.process.cancel(kind);
            let deadline = if in_a_hurry { Instant::now() } else { deadline };
            tokio::select! {
                biased;
                () = self.drain(kind, deadline) => {}
                () = &mut hurry, if !in_a_hurry => {
                    in_a_hurry = true;
                    self.drain(kind, Instant::now()).await;
                }
            }
        }
        self.exit
    }

    /// Returns when it is time to drain.
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
                        self.adopt_waiting();
                        if self.inputs.running.is_empty() && self.outputs.running.is_empty() {
                            self.fail(Exit::Internal);
                            tracing::error!("{} has no task to run", self.process.name());
                            return;
                        }
                        self.process.health().running();
                        tracing::info!("{} {} is running", self.process.name(), self.process.version());
                    }
                    Err(error) => {
                        self.fail(Exit::Unavailable);
                        tracing::error!(error = format!("{error:#}"), "{} can't start", self.process.name());
                        return;
                    }
                },
            }
        }
    }

    /// Awaits the tasks of a kind, and aborts those that are still there at the deadline.
    async fn drain(&mut self, kind: Kind, deadline: Instant) {
        loop {
            self.adopt_waiting();
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
        tracing::error!(tasks = ?names, "tasks had to be aborted: they did not end in time");
        // An aborted task ends at its next await; one that never awaits is left to the runtime.
        let ended = async { while next(tasks).await.is_some() {} };
        let _ = timeout(ABORT, ended).await;
        tasks.running.detach_all();
    }

    /// Of several reasons to fail, the first one is what the operator has to know.
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

    fn adopt_waiting(&mut self) {
        while let Ok(spawned) = self.spawned.try_recv() {
            self.adopt(spawned);
        }
    }

    fn adopt(&mut self, Spawned { name, kind, task }: Spawned) {
        let tasks = self.tasks(kind);
        tasks.aborts.push((name, task.abort_handle()));
        tasks.running.spawn(async move { Ended { name, end: task.await } });
    }

    /// One line a task; whatever was not asked for makes the exit a failure.
    fn ended(&mut self, Ended { name, end }: Ended) {
        match end {
            Ok(End { result, asked }) => match result {
                Ok(()) if asked => return tracing::debug!(task = name, "task {name} is drained"),
                Ok(()) => tracing::error!(task = name, "task {name} ended before it was asked to"),
                Err(error) => tracing::error!(task = name, error = format!("{error:#}"), "task {name} failed"),
            },
            Err(error) => tracing::error!(task = name, error = panic_message(error), "task {name} panicked"),
        }
        self.fail(Exit::Internal);
    }
}

/// The next task that ends; `None` when there is none.
async fn next(tasks: &mut Tasks) -> Option<Ended> {
    let ended = tasks.running.join_next().await?;
    tasks.aborts.retain(|(_, task)| !task.is_finished());
    Some(ended.expect("the watching task only awaits"))
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
