//! Publication of a domain event whose commit may not be durable when the store fails over.

use crate::explorer::{Model, Steps};

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// `false` if the relay publishes what is committed and visible, but perhaps not durable, which is a fault.
    pub(crate) publishes_only_durable: bool,
}

/// Domain event 1 of a stream, by its id. A transaction that is repeated creates another id.
type DomainEvent = Option<u8>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// What survives a fail-over.
    durable: DomainEvent,
    /// What is committed and visible.
    visible: DomainEvent,
    has_failed: bool,
    next_id: u8,
    log: Vec<u8>,
    /// What the consumer has applied.
    applied: DomainEvent,
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            durable: None,
            visible: None,
            has_failed: false,
            next_id: 1,
            log: Vec::new(),
            applied: None,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let differs = state.applied.is_some() && state.durable.is_some() && state.applied != state.durable;
        differs.then_some("a consumer has applied another domain event than the journal contains")
    }

    fn is_done(&self, state: &State) -> bool {
        state.durable.is_some() && state.applied == state.durable
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        if state.visible.is_none() {
            steps.add(state, ("commit", 0, 0), |next| {
                next.visible = Some(next.next_id);
                next.next_id += 1;
            });
        }
        if state.visible != state.durable {
            steps.add(state, ("flush", 0, 0), |next| next.durable = next.visible);
            if !state.has_failed {
                steps.add(state, ("fail over", 0, 0), |next| {
                    next.has_failed = true;
                    next.visible = next.durable;
                });
            }
        }
        let published = if self.publishes_only_durable {
            state.durable
        } else {
            state.visible
        };
        if let Some(id) = published.filter(|id| !state.log.contains(id)) {
            steps.add(state, ("publish", 0, 0), |next| next.log.push(id));
        }
        if let (None, Some(id)) = (state.applied, state.log.first()) {
            steps.add(state, ("apply", 0, 0), |next| next.applied = Some(*id));
        }
    }
}
