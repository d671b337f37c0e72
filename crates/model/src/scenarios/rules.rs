//! The rules as they are.

use super::commands::{ACCEPT_REJECT, ACCEPT_TWO_KEYS, DEFER_ACCEPT, POISON_ACCEPT};
use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{consumer, producer};

/// The rules as they are: no counterexample.
pub(super) const RULES: &[Scenario] = &[
    Scenario {
        id: "A01",
        title: "accepted commands; crash, rebalance, duplicate",
        subject: Subject::Producer(producer::Config {
            in_flight: 1,
            budget: producer::Budget {
                crashes: 1,
                rebalances: 1,
                duplicates: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(204_088),
    },
    Scenario {
        id: "A02",
        title: "accepted commands; rollback, unknown commit, rebalance",
        subject: Subject::Producer(producer::Config {
            in_flight: 1,
            budget: producer::Budget {
                rollbacks: 1,
                unknown_commits: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(10_649),
    },
    Scenario {
        id: "A03",
        title: "an accepted and a rejected command; two rebalances, duplicate, unknown commit",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_REJECT,
            in_flight: 1,
            budget: producer::Budget {
                rebalances: 2,
                duplicates: 1,
                unknown_commits: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(40_506),
    },
    Scenario {
        id: "A04",
        title: "pipelined relay; expired lease, timeout, rebalance",
        subject: Subject::Producer(producer::Config {
            budget: producer::Budget {
                expired_leases: 1,
                timeouts: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(158_699),
    },
    Scenario {
        id: "A05",
        title: "pipelined relay; expired lease, crash, timeout",
        subject: Subject::Producer(producer::Config {
            budget: producer::Budget {
                expired_leases: 1,
                crashes: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(105_395),
    },
    Scenario {
        id: "A06",
        title: "a deferred command; duplicate, crash, rebalance",
        subject: Subject::Producer(producer::Config {
            commands: DEFER_ACCEPT,
            in_flight: 1,
            batch: 1,
            budget: producer::Budget {
                duplicates: 1,
                crashes: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Large,
        expected: Expected::holds(4_346_091),
    },
    Scenario {
        id: "A07",
        title: "a deferred command; duplicate, timeout, unknown commit",
        subject: Subject::Producer(producer::Config {
            commands: DEFER_ACCEPT,
            in_flight: 1,
            budget: producer::Budget {
                duplicates: 1,
                timeouts: 1,
                unknown_commits: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(29_180),
    },
    Scenario {
        id: "A08",
        title: "a poison command and an accepted one, of two keys; duplicate, crash, rebalance",
        subject: Subject::Producer(producer::Config {
            commands: POISON_ACCEPT,
            in_flight: 1,
            budget: producer::Budget {
                duplicates: 1,
                crashes: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(36_543),
    },
    Scenario {
        id: "A09",
        title: "one process; expired lease, crash, timeout",
        subject: Subject::Producer(producer::Config {
            processes: 1,
            budget: producer::Budget {
                expired_leases: 1,
                crashes: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(5_023),
    },
    Scenario {
        id: "A10",
        title: "three accepted commands of two keys; rebalance, expired lease, pipelined relay",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_TWO_KEYS,
            in_flight: 3,
            budget: producer::Budget {
                rebalances: 1,
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Large,
        expected: Expected::holds(776_804),
    },
    Scenario {
        id: "A11",
        title: "a relay that stops after it lost its lease: the other process adopts its rows",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::LostLeaseStopsTheRelay],
            budget: producer::Budget {
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(995),
    },
    Scenario {
        id: "A20",
        title: "3 domain events in any order; crash, rebalance, duplicate",
        subject: Subject::Consumer(consumer::Config {
            budget: consumer::Budget {
                crashes: 1,
                rebalances: 1,
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(76_982),
    },
    Scenario {
        id: "A21",
        title: "3 and 1 domain events; rebalance, duplicate, rollback, unknown commit",
        subject: Subject::Consumer(consumer::Config {
            messages: [3, 1],
            budget: consumer::Budget {
                rebalances: 1,
                duplicates: 1,
                rollbacks: 1,
                unknown_commits: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Large,
        expected: Expected::holds(1_583_918),
    },
    Scenario {
        id: "A22",
        title: "4 domain events in batches of 3; two rebalances, duplicate",
        subject: Subject::Consumer(consumer::Config {
            messages: [4, 0],
            batch: 3,
            budget: consumer::Budget {
                rebalances: 2,
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(689_858),
    },
    Scenario {
        id: "A23",
        title: "a poison domain event and its release; rebalance, duplicate",
        subject: Subject::Consumer(consumer::Config {
            messages: [3, 1],
            poison: &[(0, 2)],
            budget: consumer::Budget {
                rebalances: 1,
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Large,
        expected: Expected::holds(1_525_612),
    },
    Scenario {
        id: "A24",
        title: "two poison domain events of one key and their release; crash, duplicate",
        subject: Subject::Consumer(consumer::Config {
            messages: [4, 0],
            poison: &[(0, 1), (0, 3)],
            budget: consumer::Budget {
                crashes: 1,
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(204_818),
    },
    Scenario {
        id: "A25",
        title: "one key in two partitions; duplicate",
        subject: Subject::Consumer(consumer::Config {
            partitions: 2,
            budget: consumer::Budget {
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(11_542),
    },
];
