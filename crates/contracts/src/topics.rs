//! Every topic, declared once: from this table come the topics themselves, the registry subjects, the boot checks
//! and the documents.

use std::time::Duration;

use crate::{
    AuditFact, AuditQuery, DeadLetterFact, EventCommand, EventEvent, NotificationCommand, NotificationFact, OpsCommand,
    ProcessStatusState, Record, RegistrationCommand, RegistrationEvent, Reply, SecurityFact, UserCommand, UserEvent,
    UserProfileState,
};

/// A topic: what it carries, who may say it, and how long it is kept.
#[derive(Debug)]
pub struct Topic {
    /// Name without prefix.
    pub name: &'static str,
    pub kind: Kind,
    /// What the key names, e.g. `user id`.
    pub key: &'static str,
    pub records: &'static [RecordType],
    /// The service whose topic it is: it says the facts, and it takes the commands and replies.
    pub owner: &'static str,
    /// Never changed: more partitions are a new topic, after a drain.
    pub partitions: i32,
    pub retention: Retention,
}

/// What a topic's messages are, and so how they are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sequenced facts of an aggregate: applied completely and in order.
    DomainEvents,
    /// Facts without an aggregate, deduplicated by id.
    Facts,
    /// Requests to one aggregate, deduplicated by id.
    Commands,
    /// Answers to commands, deduplicated by id.
    Replies,
    /// The newest state of a key; a tombstone deletes it.
    State,
}

/// How long a topic keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Forever,
    /// Compacted: the newest record of each key.
    Newest,
    For(Duration),
}

/// One row of a topic's records.
#[derive(Debug, Clone, Copy)]
pub struct RecordType {
    /// Full name, e.g. `rollcall.users.UserCreated`.
    pub name: &'static str,
    /// The text of its `.avsc` file.
    pub schema: &'static str,
    /// The schema's `doc`.
    pub description: &'static str,
}

/// The owner of what all of them say or listen to.
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

/// Every topic there is.
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

/// The topic of that name (without prefix).
pub fn by_name(name: &str) -> Option<&'static Topic> {
    ALL.iter().copied().find(|topic| topic.name == name)
}

impl Topic {
    /// The name on the broker.
    pub fn full_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.name)
    }

    /// The registry subject of one of its records, given by full name. It has no prefix: a test's topics carry the
    /// same schemas.
    pub fn subject(&self, record_name: &str) -> String {
        format!("{}-{record_name}", self.name)
    }

    /// The row of that full name.
    pub fn record(&self, record_name: &str) -> Option<&'static RecordType> {
        self.records.iter().find(|record| record.name == record_name)
    }

    /// What the topic is created with on the broker.
    pub fn config(&self) -> Vec<(&'static str, String)> {
        let mut config = vec![("segment.ms", millis(self.segment_roll()))];
        match self.retention {
            Retention::Forever => config.extend([
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("retention.bytes", "-1".to_owned()),
            ]),
            // An erasure is done when the tombstone has been compacted in, so there is a bound on that.
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

    /// How old a record can be that is still read: the retention counts from the end of its segment. `None`: for
    /// ever, or compacted.
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

/// The first `doc` of a schema. In a schema file the record's own stands before the fields, without escapes; a test
/// holds that.
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
