//! Lanes.

use crate::lane;
use crate::scenario::{Expected, Scenario, Size, Subject};

const LANE: lane::Config = lane::Config {
    records: 2,
    never_splits: false,
    budget: lane::Budget {
        rebalances: 2,
        unknown_commits: 1,
        crashes: 1,
        pauses: 1,
    },
    fault: None,
};
const TWICE: lane::Budget = lane::Budget {
    unknown_commits: 2,
    crashes: 2,
    pauses: 0,
    ..LANE.budget
};

/// Lanes with two records in each partition.
pub(super) const LANES: &[Scenario] = &[
    Scenario {
        id: "S40",
        title: "lane: all positions are compared",
        subject: Subject::Lane(LANE),
        size: Size::Small,
        expected: Expected::holds(532_299),
    },
    Scenario {
        id: "S41",
        title: "lane: it never splits a batch",
        subject: Subject::Lane(lane::Config {
            never_splits: true,
            ..LANE
        }),
        size: Size::Small,
        expected: Expected::holds(448_982),
    },
    Scenario {
        id: "S42",
        title: "lane: two unknown commits, two crashes",
        subject: Subject::Lane(lane::Config { budget: TWICE, ..LANE }),
        size: Size::Small,
        expected: Expected::holds(318_262),
    },
    Scenario {
        id: "S43",
        title: "lane: only the first position is compared",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::OnlyTheFirstPositionIsCompared),
            ..LANE
        }),
        size: Size::Small,
        expected: Expected::violates("a record took effect twice", 8_283),
    },
    Scenario {
        id: "S44",
        title: "lane: after a mismatch, matching partitions skip the batch",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::MatchingPartitionsSkipTheBatch),
            ..LANE
        }),
        size: Size::Small,
        expected: Expected::stuck(26_278, 703_493),
    },
    Scenario {
        id: "S45",
        title: "lane: after a mismatch, the positions are not read",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::PositionsAreNotReadAgain),
            ..LANE
        }),
        size: Size::Small,
        expected: Expected::stuck(46_582, 504_831),
    },
    Scenario {
        id: "S46",
        title: "lane: a pause survives the assignment",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::PauseSurvivesTheAssignment),
            ..LANE
        }),
        size: Size::Small,
        expected: Expected::stuck(20_892, 591_084),
    },
];
