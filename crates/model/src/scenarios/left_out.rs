//! The rules, each with one left out or read differently.

use super::commands::{ACCEPT_ACCEPT_REJECT, ACCEPT_REJECT, DEFER_ACCEPT, Poison, command};
use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{consumer, producer};

/// One rule is left out, or another guarantee is expected. The titles state the variants that are safe.
pub(super) const LEFT_OUT: &[Scenario] = &[
    Scenario {
        id: "B01",
        title: "a mismatch stops the worker; unknown commit",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::MismatchStopsTheWorker],
            budget: producer::Budget {
                unknown_commits: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(35, 179),
    },
    Scenario {
        id: "B02",
        title: "the cache survives a rollback that is not a conflict",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RollbackKeepsTheCache],
            budget: producer::Budget {
                rollbacks: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("the journal has a gap between versions", 36),
    },
    Scenario {
        id: "B03",
        title: "the cache survives a mismatch",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_REJECT,
            faults: &[producer::Fault::MismatchKeepsTheCache],
            budget: producer::Budget {
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a decision on stale state was committed", 501),
    },
    Scenario {
        id: "B04",
        title: "the cache survives a reassignment to another process and back",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_ACCEPT_REJECT,
            faults: &[producer::Fault::AssignmentKeepsTheCache],
            budget: producer::Budget {
                rebalances: 2,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a decision on stale state was committed", 6_025),
    },
    Scenario {
        id: "B05",
        title: "the relay of a single process stops after it lost its lease",
        subject: Subject::Producer(producer::Config {
            processes: 1,
            faults: &[producer::Fault::LostLeaseStopsTheRelay],
            budget: producer::Budget {
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(29, 117),
    },
    Scenario {
        id: "B06",
        title: "order between keys is expected; one timeout",
        subject: Subject::Producer(producer::Config {
            expects_log_order: true,
            budget: producer::Budget {
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("first occurrences are out of order in the log", 99),
    },
    Scenario {
        id: "B07",
        title: "order between keys is expected; expired lease and rebalance",
        subject: Subject::Producer(producer::Config {
            expects_log_order: true,
            budget: producer::Budget {
                expired_leases: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("first occurrences are out of order in the log", 6_559),
    },
    Scenario {
        id: "B08",
        title: "order between keys is expected; one crash",
        subject: Subject::Producer(producer::Config {
            expects_log_order: true,
            budget: producer::Budget {
                crashes: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("first occurrences are out of order in the log", 1_190),
    },
    Scenario {
        id: "B09",
        title: "a dead-lettered command is released",
        subject: Subject::Producer(producer::Config {
            commands: &[command(0, Poison)],
            faults: &[producer::Fault::DeadCommandIsReleased],
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a command has two outcomes", 7),
    },
    Scenario {
        id: "B10",
        title: "a deferred attempt is not recorded: safe, but it multiplies duplicates",
        subject: Subject::Producer(producer::Config {
            commands: DEFER_ACCEPT,
            faults: &[producer::Fault::DeferredAttemptNotRecorded],
            in_flight: 1,
            budget: producer::Budget {
                duplicates: 1,
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(7_929),
    },
    Scenario {
        id: "B11",
        title: "the cache survives a rollback, but the head version is compared: safe",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RollbackKeepsTheCache],
            compares_head: true,
            budget: producer::Budget {
                rollbacks: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(3_851),
    },
    Scenario {
        id: "B12",
        title: "the cache survives a mismatch, and the head version is compared",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_REJECT,
            faults: &[producer::Fault::MismatchKeepsTheCache],
            compares_head: true,
            budget: producer::Budget {
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a decision on stale state was committed", 501),
    },
    Scenario {
        id: "B13",
        title: "the inbox is purged before a late duplicate",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::InboxPurgedTooEarly],
            budget: producer::Budget {
                duplicates: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a command has two effects", 230),
    },
    Scenario {
        id: "B14",
        title: "rows of live owners are adopted: safe, because leases only limit duplicates",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RowsOfLiveOwnersAreAdopted],
            in_flight: 1,
            budget: producer::Budget {
                rebalances: 1,
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::holds(384_231),
    },
    Scenario {
        id: "B20",
        title: "a release does not take turns with the worker",
        subject: Subject::Consumer(consumer::Config {
            any_order: false,
            poison: &[(0, 2)],
            fault: Some(consumer::Fault::ReleaseWithoutPositionLock),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(5, 66),
    },
    Scenario {
        id: "B21",
        title: "one key in two partitions, without a lock on its row",
        subject: Subject::Consumer(consumer::Config {
            messages: [2, 0],
            partitions: 2,
            fault: Some(consumer::Fault::SequenceRowNotLocked),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(8, 130),
    },
    Scenario {
        id: "B22",
        title: "a mismatch stops the worker; unknown commit",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::MismatchStopsTheWorker),
            budget: consumer::Budget {
                unknown_commits: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(135, 287),
    },
    Scenario {
        id: "B23",
        title: "an undecodable domain event is dead-lettered, and its key is not parked",
        subject: Subject::Consumer(consumer::Config {
            poison: &[(0, 2)],
            fault: Some(consumer::Fault::UndecodableIsDropped),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(24, 244),
    },
];
