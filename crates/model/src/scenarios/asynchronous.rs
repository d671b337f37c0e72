//! Commits that return before they are durable.

use crate::asynchronous;
use crate::scenario::{Expected, Scenario, Size, Subject};

const ASYNCHRONOUS: asynchronous::Config = asynchronous::Config {
    is_asynchronous: true,
    budget: asynchronous::Budget {
        rebalances: 2,
        crashes: 1,
        store_crashes: 2,
    },
    faults: &[],
};

/// Transactions that publish nothing commit asynchronously. The store loses the last commits when it crashes.
pub(super) const ASYNCHRONOUS_COMMITS: &[Scenario] = &[
    Scenario {
        id: "S60",
        title: "asynchronous commits: only without messages, and 201 waits until the effect is durable",
        subject: Subject::Asynchronous(ASYNCHRONOUS),
        size: Size::Small,
        expected: Expected::holds(112_567),
    },
    Scenario {
        id: "S61",
        title: "asynchronous commits: 201 when the effect is visible",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::CreatedBeforeDurable],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::violates("a client that received 201 cannot read its own write", 286),
    },
    Scenario {
        id: "S62",
        title: "synchronous commits: 201 when the effect is visible",
        subject: Subject::Asynchronous(asynchronous::Config {
            is_asynchronous: false,
            faults: &[asynchronous::Fault::CreatedBeforeDurable],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::holds(11_462),
    },
    Scenario {
        id: "S63",
        title: "asynchronous commits: with messages, too",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::PublishingCommitsAsynchronously],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::violates("Kafka contains a message whose transaction was lost", 309),
    },
    Scenario {
        id: "S64",
        title: "asynchronous commits: a position that went back is not noticed",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::LossIsNotNoticed],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::violates("a record was skipped", 2_851),
    },
    Scenario {
        id: "S65",
        title: "asynchronous commits: a later commit survives an earlier one",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::DurableOutOfOrder],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::violates("a record was skipped", 661),
    },
    Scenario {
        id: "S66",
        title: "asynchronous commits: a cache depends on more than the records",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::CacheDependsOnTheAttempt],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::violates("a handler used an outdated cache", 6_765),
    },
    Scenario {
        id: "S67",
        title: "asynchronous commits: an idle process does not notice a loss",
        subject: Subject::Asynchronous(asynchronous::Config {
            faults: &[asynchronous::Fault::IdleProcessesDoNotCompare],
            ..ASYNCHRONOUS
        }),
        size: Size::Small,
        expected: Expected::stuck(680, 91_307),
    },
];
