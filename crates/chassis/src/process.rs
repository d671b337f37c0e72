//! The argument of `run`: names, metrics, health and tasks of this process.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Health, metrics};

/// One run of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    version: &'static str,
    instance: Uuid,
    started_at: SystemTime,
    metrics: Registry,
    health: Health,
    inputs: CancellationToken,
    outputs: CancellationToken,
    spawned: mpsc::UnboundedSender<Spawned>,
    inputs_grace: Duration,
}

/// A spawned task, as sent to the supervisor.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) task: JoinHandle<End>,
}

/// Result of a task that did not panic.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) result: anyhow::Result<()>,
    /// `true` if the task's token was cancelled when it ended. The task itself reads the token, because it may be
    /// cancelled between the end of the task and the supervisor's check.
    pub(crate) was_cancelled: bool,
}

/// Kind of a task, which determines the phase of the drain that stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Input,
    Output,
}

impl Process {
    pub(crate) fn new(
        name: &'static str,
        version: &'static str,
        inputs_grace: Duration,
    ) -> (Process, mpsc::UnboundedReceiver<Spawned>) {
        let (spawned, supervisor) = mpsc::unbounded_channel();
        let instance = Uuid::now_v7();
        let inner = Inner {
            name,
            version,
            instance,
            started_at: SystemTime::now(),
            metrics: metrics::registry(name, version, instance),
            health: Health::new(),
            inputs: CancellationToken::new(),
            outputs: CancellationToken::new(),
            spawned,
            inputs_grace,
        };
        (Process { inner: Arc::new(inner) }, supervisor)
    }

    /// Returns the name of the service, e.g. `user`.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// Returns the time limit for inputs to end after the process is stopped: a share of `SHUTDOWN_TIMEOUT_MS`.
    pub fn inputs_grace(&self) -> Duration {
        self.inner.inputs_grace
    }

    /// Returns the version of the service, e.g. `0.1.0`.
    pub fn version(&self) -> &'static str {
        self.inner.version
    }

    /// Returns the id of this run, a UUIDv7 that is new at every start.
    pub fn instance(&self) -> Uuid {
        self.inner.instance
    }

    /// Returns the start time of this run.
    pub fn started_at(&self) -> SystemTime {
        self.inner.started_at
    }

    /// Returns the registry of the metrics that `/metrics` shows.
    pub fn metrics(&self) -> &Registry {
        &self.inner.metrics
    }

    /// Returns the readiness of the process, which `/ready` shows, and to which checks are added.
    pub fn health(&self) -> Health {
        self.inner.health.clone()
    }

    /// Spawns a task that accepts work: a consumer, the public port, a timer. Inputs are stopped first.
    ///
    /// The future must return after [`inputs_token`](Process::inputs_token) is cancelled and its work in progress is
    /// finished. Returning earlier, with `Ok` or `Err`, or panicking, shuts down the process.
    pub fn spawn_input(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.spawn(name, Kind::Input, task);
    }

    /// Spawns a task that sends finished work: the relay. Outputs are stopped after every input has ended,
    /// by [`outputs_token`](Process::outputs_token); otherwise the rules for inputs apply.
    pub fn spawn_output(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.spawn(name, Kind::Output, task);
    }

    /// Returns a token that is cancelled when the drain begins.
    pub fn inputs_token(&self) -> CancellationToken {
        // A child token, so a task may cancel its own without stopping the others.
        self.inner.inputs.child_token()
    }

    /// Returns a token that is cancelled when every input has ended.
    pub fn outputs_token(&self) -> CancellationToken {
        self.inner.outputs.child_token()
    }

    pub(crate) fn cancel(&self, kind: Kind) {
        match kind {
            Kind::Input => self.inner.inputs.cancel(),
            Kind::Output => self.inner.outputs.cancel(),
        }
    }

    fn spawn(&self, name: &'static str, kind: Kind, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let token = match kind {
            Kind::Input => self.inputs_token(),
            Kind::Output => self.outputs_token(),
        };
        let task = tokio::spawn(async move {
            let result = task.await;
            let was_cancelled = token.is_cancelled();
            End { result, was_cancelled }
        });
        let spawned = Spawned { name, kind, task };
        if let Err(unsent) = self.inner.spawned.send(spawned) {
            // The supervisor has ended, so the process is ending too. An unsupervised task must not run.
            unsent.0.task.abort();
        }
    }
}
