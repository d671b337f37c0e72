//! Readiness of the process: named checks, and the phase of its life.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Readiness of the process, shared by all its parts. Cheap to clone.
///
/// The process is ready if it has booted, every check is up, and it is not draining. An announced check keeps the
/// process unready until it is up, so announce it before the work begins.
#[derive(Debug, Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Reason why each check is down; `None` if it is up.
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
    /// Returns the state of a starting process without checks.
    pub fn new() -> Health {
        Health::default()
    }

    /// Announces a check. It is down until [`Check::up`] is called.
    pub fn check(&self, name: &'static str) -> Check {
        let down = Some("not up yet".to_owned());
        self.lock().checks.insert(name, down);
        Check {
            name,
            health: self.clone(),
        }
    }

    /// Returns `true` if the process has booted, every check is up, and it is not draining.
    pub fn is_ready(&self) -> bool {
        self.lock().is_ready()
    }

    /// Returns the readiness and the body of `/ready`.
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

    /// Marks the process as booted so that it is ready as soon as every check is up.
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
        // Every change is one assignment, so a panic cannot leave an inconsistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.checks.values().all(Option::is_none)
    }
}

/// Handle of a named check.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    health: Health,
}

impl Check {
    /// Marks the check as up.
    pub fn up(&self) {
        self.health.lock().checks.insert(self.name, None);
    }

    /// Marks the check as down. `/ready` shows `reason`, so it must contain no personal data and no secrets.
    pub fn down(&self, reason: impl Into<String>) {
        self.health.lock().checks.insert(self.name, Some(reason.into()));
    }
}
