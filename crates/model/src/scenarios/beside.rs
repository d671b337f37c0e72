//! Small models beside the main ones.

use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{context, cursor, durability, gateway};

/// Small models beside the main ones.
pub(super) const BESIDE: &[Scenario] = &[
    Scenario {
        id: "S01",
        title: "outbox rows of two workers; the relay reads the set of its rows",
        subject: Subject::Cursor(cursor::Config {
            messages: 3,
            fault: None,
        }),
        size: Size::Small,
        expected: Expected::holds(1_713),
    },
    Scenario {
        id: "S02",
        title: "the relay reads rows behind a cursor",
        subject: Subject::Cursor(cursor::Config {
            messages: 2,
            fault: Some(cursor::Fault::RelayReadsBehindACursor),
        }),
        size: Size::Small,
        expected: Expected::stuck(92, 271),
    },
    Scenario {
        id: "S03",
        title: "each session of a pool reserves positions",
        subject: Subject::Cursor(cursor::Config {
            messages: 2,
            fault: Some(cursor::Fault::PositionsAreReservedPerSession),
        }),
        size: Size::Small,
        expected: Expected::violates(
            "the positions of a key's rows differ from the order of its versions",
            324,
        ),
    },
    Scenario {
        id: "S10",
        title: "gateway: replies at any process, polls of the store",
        subject: Subject::Gateway(gateway::Config { fault: None }),
        size: Size::Small,
        expected: Expected::holds(2_027),
    },
    Scenario {
        id: "S11",
        title: "gateway: the partition of a dead process does not fail over",
        subject: Subject::Gateway(gateway::Config {
            fault: Some(gateway::Fault::NoFailOver),
        }),
        size: Size::Small,
        expected: Expected::stuck(38, 1_558),
    },
    Scenario {
        id: "S12",
        title: "gateway: a request is woken only by its own process",
        subject: Subject::Gateway(gateway::Config {
            fault: Some(gateway::Fault::NoPollOfTheStore),
        }),
        size: Size::Small,
        expected: Expected::violates("202 although the store has reply and read model", 497),
    },
    Scenario {
        id: "S13",
        title: "gateway: 201 does not wait for the read model",
        subject: Subject::Gateway(gateway::Config {
            fault: Some(gateway::Fault::NoWaitForTheReadModel),
        }),
        size: Size::Small,
        expected: Expected::violates("201 before the read model has the version", 369),
    },
    Scenario {
        id: "S14",
        title: "gateway: replies are not deduplicated",
        subject: Subject::Gateway(gateway::Config {
            fault: Some(gateway::Fault::NoInbox),
        }),
        size: Size::Small,
        expected: Expected::violates("an operation was completed twice", 642),
    },
    Scenario {
        id: "S15",
        title: "gateway: the position is not compared",
        subject: Subject::Gateway(gateway::Config {
            fault: Some(gateway::Fault::PositionNotCompared),
        }),
        size: Size::Small,
        expected: Expected::stuck(19, 2_126),
    },
    Scenario {
        id: "S20",
        title: "only what is durable is published",
        subject: Subject::Durability(durability::Config {
            publishes_only_durable: true,
        }),
        size: Size::Small,
        expected: Expected::holds(10),
    },
    Scenario {
        id: "S21",
        title: "what is visible is published, durable or not",
        subject: Subject::Durability(durability::Config {
            publishes_only_durable: false,
        }),
        size: Size::Small,
        expected: Expected::violates(
            "a consumer has applied another domain event than the journal contains",
            24,
        ),
    },
    Scenario {
        id: "S30",
        title: "an e-mail address is claimed by a unique row, at two workers",
        subject: Subject::Context(context::Config {
            same_batch: false,
            claims_unique_row: true,
        }),
        size: Size::Small,
        expected: Expected::holds(12),
    },
    Scenario {
        id: "S31",
        title: "an e-mail address is only read, at two workers",
        subject: Subject::Context(context::Config {
            same_batch: false,
            claims_unique_row: false,
        }),
        size: Size::Small,
        expected: Expected::violates("two accounts have the same e-mail address", 13),
    },
    Scenario {
        id: "S32",
        title: "an e-mail address is only read, in one batch",
        subject: Subject::Context(context::Config {
            same_batch: true,
            claims_unique_row: false,
        }),
        size: Size::Small,
        expected: Expected::violates("two accounts have the same e-mail address", 3),
    },
    Scenario {
        id: "S33",
        title: "an e-mail address is claimed by a unique row, in one batch",
        subject: Subject::Context(context::Config {
            same_batch: true,
            claims_unique_row: true,
        }),
        size: Size::Small,
        expected: Expected::holds(3),
    },
];
