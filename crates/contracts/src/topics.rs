//! Every topic, declared once. The topics on the broker, the registry subjects, the boot checks and the documents are
//! derived from this table.

use std::time::Duration;

use crate::{
    AuditFact, AuditQuery, DeadLetterFact, EventCommand, EventEvent, NotificationCommand, NotificationFact, OpsCommand,
    ProcessStatusState, Record, RegistrationCommand, RegistrationEvent, Reply, SecurityFact, UserCommand, UserEvent,
    UserProfileState,
};

/// A topic: its records, its owner and its retention.
#[derive(Debug)]
pub struct Topic {
    /// Name without prefix.
    pub name: &'static str,
    pub kind: Kind,
    /// Meaning of the key, e.g. `user id`.
    pub key: &'static str,
    pub records: &'static [RecordType],
    /// The service that owns the topic: it publishes the domain events, facts and states, or consumes the commands and
    /// replies.
    pub owner: &'static str,
    /// Never changes, because the partition of a key would change. More partitions require a new topic, after a drain.
    pub partitions: i32,
    pub retention: Retention,
}

/// Kind of a topic's messages, which determines their delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sequenced facts of an aggregate: applied completely and in order.
    DomainEvents,
    /// Facts without an aggregate, deduplicated by id.
    Facts,
    /// Requests to one aggregate, deduplicated by id.
    Commands,
    /// Replies to commands, deduplicated by id.
    Replies,
    /// The newest state of a key; a tombstone deletes it.
    State,
}

/// Time for which a topic keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Forever,
    /// Compacted: the newest record of each key.
    Newest,
    For(Duration),
}

/// A record type of a topic.
#[derive(Debug, Clone, Copy)]
pub struct RecordType {
    /// Full name, e.g. `rollcall.users.UserCreated`.
    pub name: &'static str,
    /// The text of its `.avsc` file.
    pub schema: &'static str,
    /// The schema's `doc`.
    pub description: &'static str,
}

/// Owner of topics that all services publish to or consume.
pub const EVERY_SERVICE: &str = "every service";

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Retention = Retention::For(Duration::from_secs(7 * 24 * 60 * 60));

pub static USERS: Topic = Topic {
    name: "users",
    kind: Kind::DomainEvents,
    key: "user id",
    records: UserEvent::RECORDS,
    owner: "user",
    partitions: 12,
    retention: Retention::Forever,
};

pub static USERS_PROFILES: Topic = Topic {
    name: "users.profiles",
    kind: Kind::State,
    key: "user id",
    records: UserProfileState::RECORDS,
    owner: "user",
    partitions: 12,
    retention: Retention::Newest,
};

pub static USERS_COMMANDS: Topic = Topic {
    name: "users.commands",
    kind: Kind::Commands,
    key: "user id",
    records: UserCommand::RECORDS,
    owner: "user",
    partitions: 12,
    retention: WEEK,
};

pub static EVENTS: Topic = Topic {
    name: "events",
    kind: Kind::DomainEvents,
    key: "event id",
    records: EventEvent::RECORDS,
    owner: "event",
    partitions: 12,
    retention: Retention::Forever,
};

pub static EVENTS_COMMANDS: Topic = Topic {
    name: "events.commands",
    kind: Kind::Commands,
    key: "event id",
    records: EventCommand::RECORDS,
    owner: "event",
    partitions: 12,
    retention: WEEK,
};

pub static REGISTRATIONS: Topic = Topic {
    name: "registrations",
    kind: Kind::DomainEvents,
    key: "event id",
    records: RegistrationEvent::RECORDS,
    owner: "registration",
    partitions: 12,
    retention: Retention::Forever,
};

pub static REGISTRATIONS_COMMANDS: Topic = Topic {
    name: "registrations.commands",
    kind: Kind::Commands,
    key: "event id",
    records: RegistrationCommand::RECORDS,
    owner: "registration",
    partitions: 12,
    retention: WEEK,
};

pub static NOTIFICATIONS: Topic = Topic {
    name: "notifications",
    kind: Kind::Facts,
    key: "user id",
    records: NotificationFact::RECORDS,
    owner: "notification",
    partitions: 12,
    retention: WEEK,
};

pub static NOTIFICATIONS_COMMANDS: Topic = Topic {
    name: "notifications.commands",
    kind: Kind::Commands,
    key: "user or event id",
    records: NotificationCommand::RECORDS,
    owner: "notification",
    partitions: 12,
    retention: WEEK,
};

pub static AUDIT: Topic = Topic {
    name: "audit",
    kind: Kind::Facts,
    key: "checkpoint or certificate id",
    records: AuditFact::RECORDS,
    owner: "audit",
    partitions: 12,
    retention: WEEK,
};

pub static AUDIT_QUERIES: Topic = Topic {
    name: "audit.queries",
    kind: Kind::Commands,
    key: "query id",
    records: AuditQuery::RECORDS,
    owner: "audit",
    partitions: 12,
    retention: WEEK,
};

pub static GATEWAY_REPLIES: Topic = Topic {
    name: "gateway.replies",
    kind: Kind::Replies,
    key: "operation id",
    records: Reply::RECORDS,
    owner: "gateway",
    partitions: 12,
    retention: Retention::For(DAY),
};

pub static GATEWAY_SECURITY: Topic = Topic {
    name: "gateway.security",
    kind: Kind::Facts,
    key: "user id",
    records: SecurityFact::RECORDS,
    owner: "gateway",
    partitions: 12,
    retention: WEEK,
};

pub static DEAD_LETTERS: Topic = Topic {
    name: "dead-letters",
    kind: Kind::Facts,
    key: "dead letter id",
    records: DeadLetterFact::RECORDS,
    owner: EVERY_SERVICE,
    partitions: 12,
    retention: WEEK,
};

pub static OPS_COMMANDS: Topic = Topic {
    name: "ops.commands",
    kind: Kind::Commands,
    key: "operation id",
    records: OpsCommand::RECORDS,
    owner: EVERY_SERVICE,
    partitions: 1,
    retention: WEEK,
};

pub static OPS_STATUS: Topic = Topic {
    name: "ops.status",
    kind: Kind::State,
    key: "process id",
    records: ProcessStatusState::RECORDS,
    owner: EVERY_SERVICE,
    partitions: 1,
    retention: Retention::Newest,
};

/// All topics.
pub static ALL: &[&Topic] = &[
    &USERS,
    &USERS_PROFILES,
    &USERS_COMMANDS,
    &EVENTS,
    &EVENTS_COMMANDS,
    &REGISTRATIONS,
    &REGISTRATIONS_COMMANDS,
    &NOTIFICATIONS,
    &NOTIFICATIONS_COMMANDS,
    &AUDIT,
    &AUDIT_QUERIES,
    &GATEWAY_REPLIES,
    &GATEWAY_SECURITY,
    &DEAD_LETTERS,
    &OPS_COMMANDS,
    &OPS_STATUS,
];

/// Returns the topic with this name (without prefix), or `None` if it does not exist.
pub fn by_name(name: &str) -> Option<&'static Topic> {
    ALL.iter().copied().find(|topic| topic.name == name)
}

impl Topic {
    /// Returns the name on the broker.
    pub fn full_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name)
    }

    /// Returns the registry subject of one of the topic's records, given by full name. It has no prefix, because the
    /// topics of a test have the same schemas.
    pub fn subject(&self, record_name: &str) -> String {
        format!("{}-{record_name}", self.name)
    }

    /// Returns the record type with this full name, or `None` if the topic has none.
    pub fn record(&self, record_name: &str) -> Option<&'static RecordType> {
        self.records.iter().find(|record| record.name == record_name)
    }

    /// Returns the configuration with which the topic is created on the broker.
    pub fn config(&self) -> Vec<(&'static str, String)> {
        let mut config = vec![("segment.ms", millis(self.segment_roll()))];
        match self.retention {
            Retention::Forever => config.extend([
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("retention.bytes", "-1".to_owned()),
            ]),
            // An erasure is complete after compaction, so the time until compaction is bounded.
            Retention::Newest => config.extend([
                ("cleanup.policy", "compact".to_owned()),
                ("max.compaction.lag.ms", millis(DAY)),
                ("delete.retention.ms", millis(DAY)),
            ]),
            Retention::For(time) => config.extend([
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", millis(time)),
                ("retention.bytes", "-1".to_owned()),
            ]),
        }
        config
    }

    /// Returns the greatest age of a record that can still be read, because retention counts from the end of a segment.
    /// `None` if the topic is kept forever or compacted.
    pub fn longest_life(&self) -> Option<Duration> {
        match self.retention {
            Retention::For(time) => Some(time + self.segment_roll()),
            Retention::Forever | Retention::Newest => None,
        }
    }

    fn segment_roll(&self) -> Duration {
        match self.retention {
            Retention::Forever => 7 * DAY,
            Retention::Newest => HOUR,
            Retention::For(time) => (time / 7).max(HOUR),
        }
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl RecordType {
    pub(crate) const fn of<R: Record>() -> Self {
        Self {
            name: R::NAME,
            schema: R::SCHEMA,
            description: doc(R::SCHEMA),
        }
    }
}

/// Returns the first `doc` of a schema. A test verifies that this is the record's own and has no escapes.
const fn doc(schema: &'static str) -> &'static str {
    let start = find(schema, 0, br#""doc": ""#) + br#""doc": ""#.len();
    let end = find(schema, start, b"\"");
    schema.split_at(end).0.split_at(start).1
}

const fn find(text: &str, from: usize, what: &[u8]) -> usize {
    let text = text.as_bytes();
    let mut at = from;
    while at + what.len() <= text.len() {
        let mut same = 0;
        while same < what.len() && text[at + same] == what[same] {
            same += 1;
        }
        if same == what.len() {
            return at;
        }
        at += 1;
    }
    panic!("the schema has no doc")
}
