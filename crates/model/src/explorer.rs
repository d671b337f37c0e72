//! The explorer: visits every state that a model can reach, breadth first.
//!
//! Safety is checked in every state; the first violation ends the search, and its trace is a shortest one. Liveness is
//! checked at the end, as "from every reachable state, a path leads to a state in which everything is done".

mod fingerprint;

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

use self::fingerprint::{Fingerprint, Fingerprinter, Fingerprints};

/// Maximum number of states. An exploration that reaches more has no verdict.
const MAX_STATES: usize = 80_000_000;

/// The name of a step with up to two numbers that identify it, e.g. process and partition.
pub(crate) type Label = (&'static str, usize, usize);

/// A part of the protocol, as states and the steps between them.
pub(crate) trait Model {
    type State: Clone + Hash + Debug;

    fn initial(&self) -> Self::State;

    /// Adds every step that is possible in `state`, with the state that it leads to.
    fn steps(&self, state: &Self::State, steps: &mut Steps<Self::State>);

    /// Returns the guarantee that `state` violates, or `None`.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// Returns `true` if everything that was to happen has happened.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// The steps that are possible in one state.
#[derive(Debug)]
pub(crate) struct Steps<S>(Vec<(Label, S)>);

impl<S: Clone> Steps<S> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the step that applies `change` to a copy of `state`.
    pub(crate) fn add(&mut self, state: &S, label: Label, change: impl FnOnce(&mut S)) {
        let mut next = state.clone();
        change(&mut next);
        self.push(label, next);
    }

    /// Adds the step that leads to `next`.
    pub(crate) fn push(&mut self, label: Label, next: S) {
        self.0.push((label, next));
    }

    pub(crate) fn into_vec(self) -> Vec<(Label, S)> {
        self.0
    }
}

/// The result for one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No reachable state violates a guarantee, and all of them lead to completion.
    Holds,
    /// A reachable state violates this guarantee.
    Violates(&'static str),
    /// This number of states lead to no state in which everything is done.
    Stuck(usize),
    /// There are too many states.
    Unfinished,
}

/// The result of an exploration.
#[derive(Debug)]
pub(crate) struct Exploration {
    pub(crate) verdict: Verdict,
    /// Number of states that were reached.
    pub(crate) states: usize,
    /// Number of steps between different states.
    pub(crate) steps: usize,
    /// Number of steps from the initial state to the farthest visited state.
    pub(crate) depth: u32,
    /// Number of states in which everything is done.
    pub(crate) done: usize,
    pub(crate) counterexample: Option<Counterexample>,
}

/// A shortest path to a state that violates a guarantee, or that leads to no completion.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) steps: Vec<Label>,
    pub(crate) state: String,
}

/// Explores a model completely, or up to the first violation of a guarantee.
pub(crate) fn explore<M: Model>(model: &M) -> Exploration {
    Explorer::new(model).run()
}

/// States are numbered in the order in which they are found. Only the fingerprint of a visited state is kept.
struct Explorer<'m, M: Model> {
    model: &'m M,
    fingerprinter: Fingerprinter,
    numbers: Fingerprints<u32>,
    fingerprints: Vec<Fingerprint>,
    /// The state from which each state was found.
    parents: Vec<u32>,
    /// States that were found and not visited.
    queue: VecDeque<Found<M::State>>,
    /// The steps between different states, from and to.
    edges: Vec<(u32, u32)>,
    done: Vec<u32>,
    depth: u32,
}

struct Found<S> {
    number: u32,
    depth: u32,
    state: S,
}

const NO_PARENT: u32 = u32::MAX;

impl<'m, M: Model> Explorer<'m, M> {
    fn new(model: &'m M) -> Self {
        Self {
            model,
            fingerprinter: Fingerprinter::default(),
            numbers: HashMap::default(),
            fingerprints: Vec::new(),
            parents: Vec::new(),
            queue: VecDeque::new(),
            edges: Vec::new(),
            done: Vec::new(),
            depth: 0,
        }
    }

    fn run(mut self) -> Exploration {
        self.reach(self.model.initial(), NO_PARENT, 0);
        let mut steps = Steps::new();
        while let Some(found) = self.queue.pop_front() {
            self.depth = self.depth.max(found.depth);
            if let Some(guarantee) = self.model.violation(&found.state) {
                return self.finish(Verdict::Violates(guarantee), Some(found.number));
            }
            if self.model.is_done(&found.state) {
                self.done.push(found.number);
            }
            self.model.steps(&found.state, &mut steps);
            for (_, next) in steps.0.drain(..) {
                let next = self.reach(next, found.number, found.depth + 1);
                if next != found.number {
                    self.edges.push((found.number, next));
                }
            }
            if self.fingerprints.len() > MAX_STATES {
                return self.finish(Verdict::Unfinished, None);
            }
        }
        self.numbers = HashMap::default();
        let stuck = states_without_path(self.fingerprints.len(), &self.edges, &self.done);
        match stuck.first() {
            Some(first) => self.finish(Verdict::Stuck(stuck.len()), Some(*first)),
            None => self.finish(Verdict::Holds, None),
        }
    }

    /// Returns the number of a state, and queues the state if it is new.
    fn reach(&mut self, state: M::State, parent: u32, depth: u32) -> u32 {
        let fingerprint = self.fingerprinter.of(&state);
        let new = self.fingerprints.len() as u32;
        let number = *self.numbers.entry(fingerprint).or_insert(new);
        if number == new {
            self.fingerprints.push(fingerprint);
            self.parents.push(parent);
            self.queue.push_back(Found { number, depth, state });
        }
        number
    }

    fn finish(mut self, verdict: Verdict, example: Option<u32>) -> Exploration {
        Exploration {
            verdict,
            counterexample: example.map(|number| self.trace(number)),
            states: self.fingerprints.len(),
            steps: self.edges.len(),
            depth: self.depth,
            done: self.done.len(),
        }
    }

    /// Repeats the steps to a state, because visited states are not kept.
    fn trace(&mut self, number: u32) -> Counterexample {
        let parent_of = |number: &u32| Some(self.parents[*number as usize]).filter(|parent| *parent != NO_PARENT);
        let mut path: Vec<u32> = std::iter::successors(Some(number), parent_of).collect();
        path.reverse();
        let mut state = self.model.initial();
        let mut labels = Vec::new();
        for number in &path[1..] {
            let expected = self.fingerprints[*number as usize];
            let mut steps = Steps::new();
            self.model.steps(&state, &mut steps);
            let mut steps = steps.into_vec().into_iter();
            let (label, next) = steps
                .find(|(_, next)| self.fingerprinter.of(next) == expected)
                .expect("the state was found by a step from its parent");
            labels.push(label);
            state = next;
        }
        Counterexample {
            steps: labels,
            state: format!("{state:?}"),
        }
    }
}

/// Returns the states from which no path leads to one of `goals`, by a search backwards from the goals.
fn states_without_path(states: usize, edges: &[(u32, u32)], goals: &[u32]) -> Vec<u32> {
    // The sources of the edges to state n are sources[starts[n]..starts[n + 1]].
    let mut starts = vec![0_u32; states + 1];
    for (_, to) in edges {
        starts[*to as usize + 1] += 1;
    }
    for state in 0..states {
        starts[state + 1] += starts[state];
    }
    let mut sources = vec![0_u32; edges.len()];
    let mut free = starts.clone();
    for (from, to) in edges {
        let slot = &mut free[*to as usize];
        sources[*slot as usize] = *from;
        *slot += 1;
    }
    let mut has_path = vec![false; states];
    let mut pending = goals.to_vec();
    for goal in goals {
        has_path[*goal as usize] = true;
    }
    while let Some(state) = pending.pop() {
        let range = starts[state as usize] as usize..starts[state as usize + 1] as usize;
        for source in &sources[range] {
            if !std::mem::replace(&mut has_path[*source as usize], true) {
                pending.push(*source);
            }
        }
    }
    (0..states as u32).filter(|state| !has_path[*state as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that may fall into a trap, from which it cannot reach its goal.
    struct Counter {
        goal: u8,
        trap: Option<u8>,
        forbidden: Option<u8>,
    }

    impl Model for Counter {
        type State = (u8, bool);

        fn initial(&self) -> (u8, bool) {
            (0, false)
        }

        fn steps(&self, state: &(u8, bool), steps: &mut Steps<(u8, bool)>) {
            if state.0 < self.goal && !state.1 {
                steps.add(state, ("count", 0, 0), |next| next.0 += 1);
            }
            if Some(state.0) == self.trap {
                steps.add(state, ("fall", 0, 0), |next| next.1 = true);
            }
        }

        fn violation(&self, state: &(u8, bool)) -> Option<&'static str> {
            (Some(state.0) == self.forbidden).then_some("the counter reached the forbidden number")
        }

        fn is_done(&self, state: &(u8, bool)) -> bool {
            *state == (self.goal, false)
        }
    }

    const COUNTER: Counter = Counter {
        goal: 5,
        trap: None,
        forbidden: None,
    };

    #[test]
    fn a_model_without_counterexample_holds() {
        let found = explore(&COUNTER);
        assert_eq!((found.verdict, found.states, found.steps), (Verdict::Holds, 6, 5));
        assert_eq!((found.depth, found.done), (5, 1));
        assert!(found.counterexample.is_none());
    }

    #[test]
    fn a_violation_is_found_on_a_shortest_path() {
        let found = explore(&Counter {
            forbidden: Some(3),
            ..COUNTER
        });
        assert_eq!(
            found.verdict,
            Verdict::Violates("the counter reached the forbidden number")
        );
        let example = found.counterexample.expect("a counterexample");
        assert_eq!((example.steps.len(), &*example.state), (3, "(3, false)"));
    }

    #[test]
    fn states_that_lead_to_no_completion_are_counted() {
        let found = explore(&Counter {
            trap: Some(2),
            ..COUNTER
        });
        assert_eq!(found.verdict, Verdict::Stuck(1));
        let example = found.counterexample.expect("a counterexample");
        assert_eq!(example.steps, [("count", 0, 0), ("count", 0, 0), ("fall", 0, 0)]);
    }
}
