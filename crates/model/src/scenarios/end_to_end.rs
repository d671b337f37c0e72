//! End to end: commands, journal, outbox, relay, log, and two consumers.

use crate::scenario::{Expected, Scenario, Size, Subject};
use crate::{consumer, producer};

const END_TO_END: producer::Config = producer::Config {
    batch: 1,
    keeps_log_order: true,
    ..producer::Config::DEFAULT
};
const TWO_MESSAGES: Option<consumer::Config> = Some(consumer::Config {
    messages: [2, 0],
    ..consumer::Config::DEFAULT
});

/// The rules as they are, from a command to its effects at a consumer: no counterexample.
pub(super) const END_TO_END_RULES: &[Scenario] = &[
    Scenario {
        id: "E01",
        title: "timeout and rebalance of the producer",
        subject: Subject::Producer(producer::Config {
            consumers: TWO_MESSAGES,
            budget: producer::Budget {
                timeouts: 1,
                rebalances: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(34_334),
    },
    Scenario {
        id: "E02",
        title: "crash of the producer",
        subject: Subject::Producer(producer::Config {
            consumers: TWO_MESSAGES,
            budget: producer::Budget {
                crashes: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(9_872),
    },
    Scenario {
        id: "E03",
        title: "timeout of the producer, rebalance and crash of the consumer",
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
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(38_730),
    },
    Scenario {
        id: "E04",
        title: "expired lease of the producer, rebalance of the consumer",
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
                expired_leases: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(232_357),
    },
    Scenario {
        id: "E05",
        title: "timeout of the producer, poison domain event at the consumer",
        subject: Subject::Producer(producer::Config {
            consumers: Some(consumer::Config {
                messages: [2, 0],
                poison: &[(0, 1)],
                ..consumer::Config::DEFAULT
            }),
            budget: producer::Budget {
                timeouts: 1,
                ..producer::Budget::NONE
            },
            ..END_TO_END
        }),
        size: Size::Small,
        expected: Expected::holds(3_006),
    },
];
