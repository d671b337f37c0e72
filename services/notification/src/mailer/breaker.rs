//! A circuit breaker: while the mail server can't be reached, all wait and one letter at a time finds out.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
    first_wait: Duration,
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

/// The server is asked at least this often, however long it has been away.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The right to send letters. Tell the breaker what came of them; a pass that is dropped unused is given
/// to the next.
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(first_wait: Duration, reachable: IntGauge) -> Arc<Self> {
        reachable.set(1);
        Arc::new(Self {
            state: Mutex::new(State::Closed),
            changed: Notify::new(),
            first_wait,
            reachable,
        })
    }

    /// Waits until letters may be sent: at once while the server is reachable, otherwise when it is time
    /// for a probe, and this is it.
    pub(super) async fn pass(self: &Arc<Self>) -> Pass {
        loop {
            // Registered before the state is looked at, so that no change is missed.
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

    fn issue(self: &Arc<Self>, probe: bool) -> Pass {
        Pass {
            breaker: Arc::clone(self),
            probe,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the state")
    }
}

impl Pass {
    /// Whether this is the one letter that finds out.
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// The same right for another letter of the same claim.
    pub(super) fn another(&self) -> Self {
        self.breaker.issue(false)
    }

    /// The server answered, whatever it said.
    pub(super) fn reached(&mut self) {
        self.probe = false;
        let mut state = self.breaker.state();
        if matches!(*state, State::Open { .. }) {
            tracing::info!("the mail server is reachable again");
            *state = State::Closed;
            self.breaker.reachable.set(1);
            self.breaker.changed.notify_waiters();
        }
    }

    /// The server can't be reached.
    pub(super) fn unreachable(&mut self, reason: &str) {
        let mut state = self.breaker.state();
        let wait = match *state {
            State::Closed => self.breaker.first_wait,
            State::Open { wait, .. } if self.probe => (wait * 2).min(LONGEST_WAIT),
            // A letter that was under way when the first one failed: nothing new.
            State::Open { .. } => return,
        };
        tracing::warn!(reason, ?wait, "mails wait for the mail server");
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

impl Drop for Pass {
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
    async fn all_pass_while_the_server_is_reachable() {
        let breaker = breaker();
        let (first, second) = (breaker.pass().await, breaker.pass().await);
        assert!(!first.is_probe() && !second.is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_while_all_others_wait_and_success_lets_them_go() {
        let breaker = breaker();
        breaker.pass().await.unreachable("down");
        assert!(
            breaker.pass().now_or_never().is_none(),
            "nobody passes before the wait is over"
        );

        let mut probe = breaker.pass().await;
        assert!(probe.is_probe());
        let waiting = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.pass().await.is_probe() }
        });
        tokio::time::sleep(WAIT * 100).await;
        assert!(!waiting.is_finished(), "the others wait for the probe");

        probe.reached();
        assert!(!waiting.await.expect("it passes"), "the server is reachable again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_doubles_the_wait_up_to_a_limit() {
        let breaker = breaker();
        breaker.pass().await.unreachable("down");
        let mut waits = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            breaker.pass().await.unreachable("still down");
            waits.push(start.elapsed().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_probe_is_given_to_the_next() {
        let breaker = breaker();
        breaker.pass().await.unreachable("down");
        drop(breaker.pass().await);
        assert!(breaker.pass().await.is_probe());
    }
}
