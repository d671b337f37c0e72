use contracts::topics::Retention;
use contracts::{Topic, topics};

use crate::store::shadow::Table;

/// A read model that can be rebuilt: the tables that one topic fills.
pub(super) struct Projection {
    pub(super) name: &'static str,
    pub(super) topic: &'static Topic,
    tables: &'static [&'static str],
}

pub(super) const PROJECTIONS: [Projection; 6] = [
    Projection {
        name: "users",
        topic: &topics::USERS,
        tables: &["users"],
    },
    Projection {
        name: "profiles",
        topic: &topics::USERS_PROFILES,
        tables: &["profiles"],
    },
    Projection {
        name: "events",
        topic: &topics::EVENTS,
        tables: &["events", "event_history"],
    },
    // The same handler writes both tables.
    Projection {
        name: "event_history",
        topic: &topics::EVENTS,
        tables: &["events", "event_history"],
    },
    Projection {
        name: "registrations",
        topic: &topics::REGISTRATIONS,
        tables: &["rosters", "registrations"],
    },
    Projection {
        name: "notifications",
        topic: &topics::NOTIFICATIONS,
        tables: &["notifications"],
    },
];

/// The tables of the ledger that hold rows of the topic. The positions are not among them, because they do not change.
pub(super) const BOOKKEEPING: [Table; 2] = [
    Table {
        name: "sequences",
        by_topic: true,
        // The live table may hold keys that compaction has removed from the topic.
        keep_surplus: true,
    },
    Table {
        name: "parked",
        by_topic: true,
        keep_surplus: false,
    },
];

impl Projection {
    pub(super) fn tables(&self) -> impl Iterator<Item = Table> + '_ {
        self.tables.iter().map(|name| Table {
            name,
            by_topic: false,
            // The live table may hold rows whose messages are older than the retention of the topic.
            keep_surplus: matches!(self.topic.retention, Retention::For(_)),
        })
    }
}
