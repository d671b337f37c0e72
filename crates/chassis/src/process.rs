//! What `run` is handed: this process's names, metrics, health and tasks.

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

/// A task, on its way to the supervisor.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) task: JoinHandle<End>,
}

/// How a task ended that did not panic.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) result: anyhow::Result<()>,
    /// Whether its token was cancelled when it ended. Seen in the task itself: by the time the supervisor
    /// looks, it may have been cancelled since.
    pub(crate) asked: bool,
}

/// Which phase of the drain stops a task.
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

    /// The service's name, e.g. `user`.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// How long inputs have to end when the process is stopped: a share of `SHUTDOWN_TIMEOUT_MS`.
    pub fn inputs_grace(&self) -> Duration {
        self.inner.inputs_grace
    }

    /// The service's version, e.g. `0.1.0`.
    pub fn version(&self) -> &'static str {
        self.inner.version
    }

    /// Names this run: a UUIDv7, new at every start.
    pub fn instance(&self) -> Uuid {
        self.inner.instance
    }

    /// When this run began.
    pub fn started_at(&self) -> SystemTime {
        self.inner.started_at
    }

    /// Where metrics are registered that `/metrics` shows.
    pub fn metrics(&self) -> &Registry {
        &self.inner.metrics
    }

    /// What `/ready` shows; for announcing checks.
    pub fn health(&self) -> Health {
        self.inner.health.clone()
    }

    /// Runs what brings work in: consumers, the public port, timers. Inputs are stopped first.
    ///
    /// The future returns once [`inputs_token`](Process::inputs_token) is cancelled and what it had begun
    /// is done. Returning earlier, with `Ok` or `Err`, or panicking, shuts the whole process down.
    pub fn spawn_input(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.spawn(name, Kind::Input, task);
    }

    /// Runs what carries finished work out: the relay. Outputs are stopped when every input has ended,
    /// by [`outputs_token`](Process::outputs_token); else as for inputs.
    pub fn spawn_output(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.spawn(name, Kind::Output, task);
    }

    /// Cancelled when the drain begins.
    pub fn inputs_token(&self) -> CancellationToken {
        // A child: a task may cancel its own copy without stopping the others.
        self.inner.inputs.child_token()
    }

    /// Cancelled when every input has ended.
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
            let asked = token.is_cancelled();
            End { result, asked }
        });
        let spawned = Spawned { name, kind, task };
        if let Err(refused) = self.inner.spawned.send(spawned) {
            // The supervisor is gone, so the process is about to end: nobody would notice this task.
            refused.0.task.abort();
        }
    }
}
