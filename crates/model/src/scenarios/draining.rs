//! Parked messages that are drained in several transactions.

use crate::draining;
use crate::scenario::{Expected, Scenario, Size, Subject};

const DRAINING: draining::Config = draining::Config {
    log: &[1, 5],
    caching: draining::Caching::None,
    budget: draining::Budget {
        rebalances: 2,
        unknown_commits: 1,
        crashes: 1,
    },
    fault: None,
};

/// A record behind which more messages are parked than one transaction applies.
pub(super) const DRAINING_IN_STEPS: &[Scenario] = &[
    Scenario {
        id: "S50",
        title: "draining in steps: the position moves back to the record, in the same transaction",
        subject: Subject::Draining(DRAINING),
        size: Size::Small,
        expected: Expected::holds(132_331),
    },
    Scenario {
        id: "S51",
        title: "draining in steps: the record is in the log twice",
        subject: Subject::Draining(draining::Config {
            log: &[1, 1, 5],
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::holds(365_709),
    },
    Scenario {
        id: "S52",
        title: "draining in steps: the position stays behind the record",
        subject: Subject::Draining(draining::Config {
            fault: Some(draining::Fault::StepMovesThePosition),
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::stuck(39_970, 39_970),
    },
    Scenario {
        id: "S53",
        title: "draining in steps: another transaction moves the position back",
        subject: Subject::Draining(draining::Config {
            fault: Some(draining::Fault::PositionMovesBackInAnotherTransaction),
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::violates("a stored position went back", 5_529),
    },
    Scenario {
        id: "S54",
        title: "draining in steps: a duplicate does not drain",
        subject: Subject::Draining(draining::Config {
            fault: Some(draining::Fault::DuplicateDoesNotDrain),
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::stuck(65_541, 65_541),
    },
    Scenario {
        id: "S55",
        title: "draining in steps: records of other topics do not count",
        subject: Subject::Draining(draining::Config {
            fault: Some(draining::Fault::OtherTopicsAreNotCounted),
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::stuck(52_099, 184_368),
    },
    Scenario {
        id: "S56",
        title: "draining in steps: a handler caches between transactions",
        subject: Subject::Draining(draining::Config {
            caching: draining::Caching::ByPosition,
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::violates("a handler used an outdated cache", 9_583),
    },
    Scenario {
        id: "S57",
        title: "draining in steps: a cache is dropped when a duplicate continues to drain",
        subject: Subject::Draining(draining::Config {
            caching: draining::Caching::ByPositionAndDrain,
            ..DRAINING
        }),
        size: Size::Small,
        expected: Expected::holds(132_707),
    },
];
