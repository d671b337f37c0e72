//! Planted defects.

use super::commands::{ACCEPT_ACCEPT_REJECT, Accept, Defer, command};
use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{consumer, producer};

/// Planted defects: each has a counterexample.
pub(super) const PLANTED: &[Scenario] = &[
    Scenario {
        id: "C01",
        title: "commands: the position is not compared",
        subject: Subject::Producer(producer::Config {
            commands: ACCEPT_ACCEPT_REJECT,
            faults: &[producer::Fault::PositionNotCompared],
            budget: producer::Budget {
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a decision on stale state was committed", 1_654),
    },
    Scenario {
        id: "C02",
        title: "a row is deleted before the broker acknowledges it",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RowDeletedBeforeAcknowledgement],
            budget: producer::Budget {
                crashes: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a row was deleted whose message is not in the log", 110),
    },
    Scenario {
        id: "C03",
        title: "the inbox entry has its own transaction",
        subject: Subject::Producer(producer::Config {
            commands: &[command(0, Accept)],
            faults: &[producer::Fault::InboxInAnotherTransaction],
            budget: producer::Budget {
                crashes: 1,
                duplicates: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a command has two effects", 638),
    },
    Scenario {
        id: "C04",
        title: "rows are adopted once per expired lease",
        subject: Subject::Producer(producer::Config {
            faults: &[
                producer::Fault::LostLeaseStopsTheRelay,
                producer::Fault::RowsAreAdoptedOncePerLease,
            ],
            budget: producer::Budget {
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(100, 971),
    },
    Scenario {
        id: "C05",
        title: "no process adopts the rows of others",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RowsAreNeverAdopted],
            budget: producer::Budget {
                crashes: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(198, 687),
    },
    Scenario {
        id: "C06",
        title: "messages are published before the commit",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::PublishedBeforeCommit],
            budget: producer::Budget {
                rollbacks: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("a message was published whose transaction did not commit", 19),
    },
    Scenario {
        id: "C07",
        title: "commands: the position moves before the effects",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::PositionMovesFirst],
            budget: producer::Budget {
                crashes: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(197, 1_519),
    },
    Scenario {
        id: "C08",
        title: "the relay reads behind a cursor, without a sweep",
        subject: Subject::Producer(producer::Config {
            faults: &[producer::Fault::RelayReadsBehindACursor],
            budget: producer::Budget {
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(23, 62),
    },
    Scenario {
        id: "C09",
        title: "a deferred command is recorded without its attempt",
        subject: Subject::Producer(producer::Config {
            commands: &[command(0, Defer)],
            faults: &[producer::Fault::DeferredAttemptRecordedAsCommand],
            ..producer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(16, 16),
    },
    Scenario {
        id: "C20",
        title: "domain events: the position is not compared",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::PositionNotCompared),
            budget: consumer::Budget {
                rebalances: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("effects are no prefix of 1, 2, 3", 822),
    },
    Scenario {
        id: "C21",
        title: "the first number that arrives counts as the start",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::FirstNumberIsTheStart),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("effects are no prefix of 1, 2, 3", 66),
    },
    Scenario {
        id: "C22",
        title: "a gap is skipped",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::GapIsSkipped),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("effects are no prefix of 1, 2, 3", 66),
    },
    Scenario {
        id: "C23",
        title: "parked messages are applied in another transaction",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::ParkedInAnotherTransaction),
            budget: consumer::Budget {
                crashes: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(52, 815),
    },
    Scenario {
        id: "C24",
        title: "types without a handler are filtered before the numbers are checked",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::FilterBeforeTheSequence),
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(116, 116),
    },
    Scenario {
        id: "C25",
        title: "domain events: the position moves before the effects",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::PositionMovesFirst),
            budget: consumer::Budget {
                crashes: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(555, 1_283),
    },
    Scenario {
        id: "C26",
        title: "after a rollback, the worker takes later records",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::RollbackSkipsTheBatch),
            budget: consumer::Budget {
                rollbacks: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::stuck(117, 233),
    },
    Scenario {
        id: "C27",
        title: "duplicates are applied",
        subject: Subject::Consumer(consumer::Config {
            fault: Some(consumer::Fault::DuplicateIsApplied),
            budget: consumer::Budget {
                duplicates: 1,
                ..consumer::Budget::NONE
            },
            ..consumer::Config::DEFAULT
        }),
        size: Size::Small,
        expected: Expected::violates("effects are no prefix of 1, 2, 3", 245),
    },
];
