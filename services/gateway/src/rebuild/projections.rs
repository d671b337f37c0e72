use contracts::topics::Retention;
use contracts::{Topic, topics};

use crate::store::shadow::Table;

/// What can be made anew: the tables that one topic fills.
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
    // The same handler keeps both.
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

/// What the ledger keeps of a topic beside its positions, which do not move.
pub(super) const BOOKKEEPING: [Table; 2] = [
    Table {
        name: "sequences",
        by_topic: true,
        // A compacted topic has forgotten keys that are remembered here.
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
            // Mails are remembered for longer than their topic does.
            keep_surplus: matches!(self.topic.retention, Retention::For(_)),
        })
    }
}
