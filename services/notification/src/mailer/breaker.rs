//! A circuit breaker. While the mail server is unreachable, all senders wait, and one e-mail at a time probes the
//! server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
    initial_delay: Duration,
    reachable: IntGauge,
}

enum State {
    Closed,
    Open {
        until: Instant,
        wait: Duration,
        probing: bool,
    },
}

/// Maximum delay between two probes.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The permission to send one e-mail. The holder records whether the server was reachable.
///
/// If a probe's permit is dropped without a record, the next caller becomes the probe.
pub(super) struct Permit {
    breaker: Arc<Breaker>,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(initial_delay: Duration, reachable: IntGauge) -> Arc<Self> {
        reachable.set(1);
        Arc::new(Self {
            state: Mutex::new(State::Closed),
            changed: Notify::new(),
            initial_delay,
            reachable,
        })
    }

    /// Waits until an e-mail may be sent.
    ///
    /// Returns immediately while the server is reachable. Otherwise returns when a probe is due, to one caller, whose
    /// e-mail is the probe; or to all callers when the server is reachable again.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            // Registered before the state is read, so no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = match &mut *self.state() {
                State::Closed => return self.issue(false),
                State::Open { until, probing, .. } if !*probing && *until <= Instant::now() => {
                    *probing = true;
                    return self.issue(true);
                }
                State::Open { until, probing, .. } => (!*probing).then_some(*until),
            };
            match until {
                Some(until) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    fn issue(self: &Arc<Self>, probe: bool) -> Permit {
        Permit {
            breaker: Arc::clone(self),
            probe,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Returns `true` if this permit is for the probe of an unreachable server.
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// Returns a permit for another e-mail that was claimed together with the first one.
    pub(super) fn another(&self) -> Self {
        self.breaker.issue(false)
    }

    /// Records that the server responded, whether it accepted the e-mail or not.
    pub(super) fn record_reachable(&mut self) {
        self.probe = false;
        let mut state = self.breaker.state();
        if matches!(*state, State::Open { .. }) {
            tracing::info!("the mail server is reachable again");
            *state = State::Closed;
            self.breaker.reachable.set(1);
            self.breaker.changed.notify_waiters();
        }
    }

    /// Records that the server is unreachable.
    pub(super) fn record_unreachable(&mut self, reason: &str) {
        let mut state = self.breaker.state();
        let wait = match *state {
            State::Closed => self.breaker.initial_delay,
            State::Open { wait, .. } if self.probe => (wait * 2).min(MAX_DELAY),
            // This e-mail was in flight when the first one failed, so the state is already known.
            State::Open { .. } => return,
        };
        tracing::warn!(
            reason,
            ?wait,
            "the mail server is unreachable; e-mails will wait until it is reachable again"
        );
        *state = State::Open {
            until: Instant::now() + wait,
            wait,
            probing: false,
        };
        self.probe = false;
        self.breaker.reachable.set(0);
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let State::Open { probing, .. } = &mut *self.breaker.state()
            && self.probe
        {
            *probing = false;
            self.breaker.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn breaker() -> Arc<Breaker> {
        Breaker::new(WAIT, IntGauge::new("reachable", "…").expect("a gauge"))
    }

    #[tokio::test(start_paused = true)]
    async fn all_mails_are_permitted_while_the_server_is_reachable() {
        let breaker = breaker();
        let (first, second) = (breaker.acquire().await, breaker.acquire().await);
        assert!(!first.is_probe() && !second.is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn all_senders_wait_for_one_probe_and_continue_when_it_succeeds() {
        let breaker = breaker();
        breaker.acquire().await.record_unreachable("down");
        assert!(
            breaker.acquire().now_or_never().is_none(),
            "no permit is issued before the delay has passed"
        );

        let mut probe = breaker.acquire().await;
        assert!(probe.is_probe());
        let waiting = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.acquire().await.is_probe() }
        });
        tokio::time::sleep(WAIT * 100).await;
        assert!(!waiting.is_finished(), "all others wait for the probe");

        probe.record_reachable();
        assert!(!waiting.await.expect("the task ends"), "the server is reachable again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_doubles_the_delay_up_to_a_limit() {
        let breaker = breaker();
        breaker.acquire().await.record_unreachable("down");
        let mut waits = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            breaker.acquire().await.record_unreachable("still down");
            waits.push(start.elapsed().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_probe_passes_to_the_next_caller() {
        let breaker = breaker();
        breaker.acquire().await.record_unreachable("down");
        drop(breaker.acquire().await);
        assert!(breaker.acquire().await.is_probe());
    }
}
