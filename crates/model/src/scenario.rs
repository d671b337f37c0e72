//! A scenario: a model with its bounds, and the result that its exploration must have.

use crate::explorer::{Exploration, Verdict, explore};
use crate::{asynchronous, consumer, context, cursor, draining, durability, gateway, lane, producer};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// A letter for the set, and a number.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) subject: Subject,
    pub(crate) size: Size,
    pub(crate) expected: Expected,
}

/// The model that a scenario explores, with its bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Producer(producer::Config),
    Consumer(consumer::Config),
    Lane(lane::Config),
    Draining(draining::Config),
    Asynchronous(asynchronous::Config),
    Cursor(cursor::Config),
    Gateway(gateway::Config),
    Durability(durability::Config),
    Context(context::Config),
}

/// The time and the memory that a scenario takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    /// The tests run it.
    Small,
    /// Up to a minute and 3 GB.
    Large,
    /// Several minutes and up to 8 GB.
    Huge,
}

/// The result of a scenario. The number of states shows that a change of the model changed nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) states: usize,
}

impl Expected {
    pub(crate) const fn holds(states: usize) -> Self {
        Self {
            verdict: Verdict::Holds,
            states,
        }
    }

    pub(crate) const fn violates(guarantee: &'static str, states: usize) -> Self {
        Self {
            verdict: Verdict::Violates(guarantee),
            states,
        }
    }

    /// Of `states`, `stuck` lead to no completion.
    pub(crate) const fn stuck(stuck: usize, states: usize) -> Self {
        Self {
            verdict: Verdict::Stuck(stuck),
            states,
        }
    }
}

impl Scenario {
    pub(crate) fn explore(&self) -> Exploration {
        self.subject.explore()
    }

    pub(crate) fn is_expected(&self, found: &Exploration) -> bool {
        let Expected { verdict, states } = self.expected;
        (found.verdict, found.states) == (verdict, states)
    }
}

impl Subject {
    fn explore(&self) -> Exploration {
        match self {
            Self::Producer(config) => explore(config),
            Self::Consumer(config) => explore(config),
            Self::Lane(config) => explore(config),
            Self::Draining(config) => explore(config),
            Self::Asynchronous(config) => explore(config),
            Self::Cursor(config) => explore(config),
            Self::Gateway(config) => explore(config),
            Self::Durability(config) => explore(config),
            Self::Context(config) => explore(config),
        }
    }
}
