//! The rules as they are, with larger bounds.

use super::commands::{ACCEPT_ACCEPT_ACCEPT, ACCEPT_ACCEPT_REJECT, ACCEPT_DEFER_POISON};
use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{consumer, lane, producer};

const END_TO_END: producer::Config = producer::Config {
    batch: 1,
    keeps_log_order: true,
    ..producer::Config::DEFAULT
};
const LANE: lane::Config = lane::Config {
    records: 3,
    never_splits: false,
    budget: lane::Budget {
        rebalances: 3,
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

/// The rules as they are, with larger bounds, and the faults of lanes.
pub(super) const LARGER: &[Scenario] = &[
    Scenario {
        id: "L01",
        title: "accepted and rejected commands; crash, rebalance, expired lease, timeout",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_ACCEPT_REJECT,
            batch: 1,
            budget: producer::Budget {
                crashes: 1,
                rebalances: 1,
                expired_leases: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Huge,
        expected: Expected::holds(8_341_538),
    },
    Scenario {
        id: "L04",
        title: "4 and 1 domain events, a poison one; rebalance, duplicate, rollback",
        subject: Subject::Consumer(consumer::Config {
            messages: [4, 1],
            poison: &[(0, 2)],
            budget: consumer::Budget {
                rebalances: 1,
                duplicates: 1,
                rollbacks: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Huge,
        expected: Expected::holds(39_888_488),
    },
    Scenario {
        id: "L05",
        title: "end to end: accepted, deferred and poison commands; timeout, duplicate, rebalance",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_DEFER_POISON,
            consumers: Some(consumer::Config {
                batch: 1,
                ..consumer::Config::DEFAULT
            }),
            budget: producer::Budget {
                timeouts: 1,
                duplicates: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Huge,
        expected: Expected::holds(29_119_118),
    },
    Scenario {
        id: "L06",
        title: "end to end: three accepted commands; timeout of the producer, rebalance of the consumer",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_ACCEPT_ACCEPT,
            consumers: Some(consumer::Config {
                budget: consumer::Budget {
                    rebalances: 1,
                    ..consumer::Budget::NONE
                },
                ..consumer::Config::DEFAULT
            }),
            budget: producer::Budget {
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(68_668),
    },
    Scenario {
        id: "L07",
        title: "end to end: crash and timeout of the producer, crash and rebalance of the consumer",
        subject: Subject::Producer(producer::Config {
            consumers: Some(consumer::Config {
                messages: [2, 0],
                budget: consumer::Budget {
                    rebalances: 1,
                    crashes: 1,
                    ..consumer::Budget::NONE
                },
                ..consumer::Config::DEFAULT
            }),
            budget: producer::Budget {
                crashes: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Huge,
        expected: Expected::holds(4_980_233),
    },
    Scenario {
        id: "L08",
        title: "accepted and rejected commands; crash, rebalance, timeout",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_ACCEPT_REJECT,
            batch: 1,
            budget: producer::Budget {
                crashes: 1,
                rebalances: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(255_704),
    },
    Scenario {
        id: "L09",
        title: "end to end: rebalance and expired lease of the producer, rebalance of the consumer",
        subject: Subject::Producer(producer::Config {
            consumers: Some(consumer::Config {
                messages: [2, 0],
                budget: consumer::Budget {
                    rebalances: 1,
                    ..consumer::Budget::NONE
                },
                ..consumer::Config::DEFAULT
            }),
            budget: producer::Budget {
                rebalances: 1,
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Huge,
        expected: Expected::holds(7_357_979),
    },
    Scenario {
        id: "L40",
        title: "lane: all positions are compared",
        subject: Subject::Lane(LANE),
        size: Size::Large,
        expected: Expected::holds(11_685_799),
    },
    Scenario {
        id: "L41",
        title: "lane: it never splits a batch",
        subject: Subject::Lane(lane::Config {
            never_splits: true,
            ..LANE
        }),
        size: Size::Large,
        expected: Expected::holds(9_062_537),
    },
    Scenario {
        id: "L42",
        title: "lane: two unknown commits, two crashes",
        subject: Subject::Lane(lane::Config { budget: TWICE, ..LANE }),
        size: Size::Large,
        expected: Expected::holds(7_709_411),
    },
    Scenario {
        id: "L43",
        title: "lane: only the first position is compared",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::OnlyTheFirstPositionIsCompared),
            ..LANE
        }),
        size: Size::Large,
        expected: Expected::violates("a record took effect twice", 11_669),
    },
    Scenario {
        id: "L44",
        title: "lane: after a mismatch, matching partitions skip the batch",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::MatchingPartitionsSkipTheBatch),
            ..LANE
        }),
        size: Size::Large,
        expected: Expected::stuck(548_934, 21_166_893),
    },
    Scenario {
        id: "L45",
        title: "lane: after a mismatch, the positions are not read",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::PositionsAreNotReadAgain),
            ..LANE
        }),
        size: Size::Large,
        expected: Expected::stuck(1_173_010, 11_462_499),
    },
    Scenario {
        id: "L46",
        title: "lane: a pause survives the assignment",
        subject: Subject::Lane(lane::Config {
            fault: Some(lane::Fault::PauseSurvivesTheAssignment),
            ..LANE
        }),
        size: Size::Large,
        expected: Expected::stuck(512_212, 13_850_386),
    },
];
