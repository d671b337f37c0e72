//! Whether this process can do its work: named checks, and where it is in its life.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

/// Shared by everything in the process that can be up or down. Cheap to clone.
///
/// Ready means: booted, every check up, and not draining. A check that was announced and never came up
/// keeps the process unready, so announce it before the work begins.
#[derive(Debug, Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Why each check is down; `None`: it is up.
    checks: BTreeMap<&'static str, Option<String>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Running,
    Draining,
}

impl Health {
    /// Starting, and without checks.
    pub fn new() -> Health {
        Health::default()
    }

    /// Announces a check; it is down until its handle says otherwise.
    pub fn check(&self, name: &'static str) -> Check {
        let down = Some("not up yet".to_owned());
        self.lock().checks.insert(name, down);
        Check {
            name,
            health: self.clone(),
        }
    }

    /// Booted, every check up, not draining.
    pub fn is_ready(&self) -> bool {
        self.lock().is_ready()
    }

    /// What `/ready` answers.
    pub(crate) fn report(&self) -> (bool, Value) {
        let state = self.lock();
        let checks: serde_json::Map<String, Value> = state
            .checks
            .iter()
            .map(|(name, down)| {
                let check = match down {
                    None => json!({"up": true}),
                    Some(reason) => json!({"up": false, "reason": reason}),
                };
                ((*name).to_owned(), check)
            })
            .collect();
        let phase = match state.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
        };
        let ready = state.is_ready();
        (ready, json!({"ready": ready, "phase": phase, "checks": checks}))
    }

    /// The process has booted: it is ready as soon as every check is up.
    pub fn running(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Starting {
            state.phase = Phase::Running;
        }
    }

    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.checks.values().all(Option::is_none)
    }
}

/// One named check.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    health: Health,
}

impl Check {
    /// It works.
    pub fn up(&self) {
        self.health.lock().checks.insert(self.name, None);
    }

    /// It doesn't. `reason` is read on `/ready`: no personal data, no secrets.
    pub fn down(&self, reason: impl Into<String>) {
        self.health.lock().checks.insert(self.name, Some(reason.into()));
    }
}
