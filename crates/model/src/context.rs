//! The context of a decision: two commands, each of which needs the same e-mail address for another account.

use crate::explorer::{Model, Steps};

const COMMANDS: usize = 2;

/// The bounds of an exploration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// One worker decides both commands in one batch, with one query for their context.
    pub(crate) same_batch: bool,
    /// `false` if the address is only read, and not claimed by a unique row, which is a fault.
    pub(crate) claims_unique_row: bool,
}

/// The context of a command: what the query for the address returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Address {
    Free,
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    Accepted,
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    context: [Option<Address>; COMMANDS],
    outcomes: [Option<Outcome>; COMMANDS],
    address: Address,
}

fn outcome(context: Address) -> Outcome {
    match context {
        Address::Free => Outcome::Accepted,
        Address::Taken => Outcome::Rejected,
    }
}

impl Config {
    fn decide_together(&self, state: &State, steps: &mut Steps<State>) {
        let [Some(first), Some(second)] = state.context else {
            steps.add(state, ("query context", 0, 0), |next| {
                next.context = [Some(next.address); COMMANDS]
            });
            return;
        };
        if state.outcomes[0].is_some() {
            return;
        }
        steps.add(state, ("commit", 0, 0), |next| {
            // The first command's claim is in the context of the second one.
            let is_claimed = self.claims_unique_row && first == Address::Free;
            let second = if is_claimed { Address::Taken } else { second };
            next.outcomes = [Some(outcome(first)), Some(outcome(second))];
            next.address = Address::Taken;
        });
    }

    fn decide_alone(&self, state: &State, worker: usize, steps: &mut Steps<State>) {
        let Some(context) = state.context[worker] else {
            steps.add(state, ("query context", worker, 0), |next| {
                next.context[worker] = Some(next.address);
            });
            return;
        };
        if state.outcomes[worker].is_some() {
            return;
        }
        if self.claims_unique_row && context == Address::Free && state.address == Address::Taken {
            steps.add(state, ("unique violation", worker, 0), |next| {
                next.context[worker] = None
            });
            return;
        }
        steps.add(state, ("commit", worker, 0), |next| {
            next.outcomes[worker] = Some(outcome(context));
            next.address = Address::Taken;
        });
    }
}

impl Model for Config {
    type State = State;

    fn initial(&self) -> State {
        State {
            context: [None; COMMANDS],
            outcomes: [None; COMMANDS],
            address: Address::Free,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let is_taken_twice = state.outcomes == [Some(Outcome::Accepted); COMMANDS];
        is_taken_twice.then_some("two accounts have the same e-mail address")
    }

    fn is_done(&self, state: &State) -> bool {
        state.outcomes.iter().all(Option::is_some)
    }

    fn steps(&self, state: &State, steps: &mut Steps<State>) {
        if self.same_batch {
            self.decide_together(state, steps);
            return;
        }
        for worker in 0..COMMANDS {
            self.decide_alone(state, worker, steps);
        }
    }
}
