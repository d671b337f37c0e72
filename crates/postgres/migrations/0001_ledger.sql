-- State of the delivery, which is written in the same transaction as the effects of the messages.

-- Next offset of each partition. A transaction locks this row first.
CREATE TABLE consumed (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Applied messages without a sequence. Partitioned by the day of the message's time, because that time is the same in
-- every copy of the message. Old partitions are dropped as a whole.
CREATE TABLE inbox (
    day        date    NOT NULL,
    message_id uuid    NOT NULL,
    attempt    integer NOT NULL,
    PRIMARY KEY (day, message_id, attempt)
) PARTITION BY RANGE (day);
-- Days without a partition: messages with a wrong time, and messages older than this service.
CREATE TABLE inbox_other PARTITION OF inbox DEFAULT;

-- Last applied sequence of each key of a sequenced topic.
CREATE TABLE sequences (
    topic       text    NOT NULL,
    key         uuid    NOT NULL,
    last        bigint  NOT NULL,
    last_id     uuid,
    -- Sequence of the poison message that blocks the key.
    poisoned_at bigint,
    has_parked  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 80);
CREATE INDEX sequences_poisoned ON sequences (topic, key) WHERE poisoned_at IS NOT NULL;

-- Parked records: they wait behind a gap, or behind a poison message of their key.
CREATE TABLE parked (
    topic      text        NOT NULL,
    key        uuid        NOT NULL,
    sequence   bigint      NOT NULL,
    message_id uuid        NOT NULL,
    partition  integer     NOT NULL,
    "offset"   bigint      NOT NULL,
    -- Timestamp of the record.
    said_at    timestamptz NOT NULL,
    value      bytea,
    headers    text        NOT NULL,
    error      text        NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, key, sequence)
);

-- Dead-lettered records, with their bytes.
CREATE TABLE dead_letters (
    id        uuid        PRIMARY KEY,
    reason    text        NOT NULL,
    detail    text        NOT NULL,
    topic     text        NOT NULL,
    partition integer     NOT NULL,
    "offset"  bigint      NOT NULL,
    -- Timestamp of the record.
    said_at   timestamptz NOT NULL,
    key       bytea,
    value     bytea,
    headers   text        NOT NULL,
    -- Time of the dead-lettering.
    buried_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Messages to publish. CACHE 1 and insertion in array order make `id` the order in which one transaction appended them.
-- The order between transactions is defined by the sequence in the message's headers.
CREATE TABLE outbox (
    owner       uuid        NOT NULL,
    id          bigint      GENERATED ALWAYS AS IDENTITY (CACHE 1),
    topic       text        NOT NULL,
    key         uuid        NOT NULL,
    value       bytea,
    headers     text        NOT NULL,
    appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 50000);

-- Delayed messages. They have no owner: any live relay moves them to the outbox when they are due.
CREATE TABLE delayed (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at  timestamptz NOT NULL,
    topic   text        NOT NULL,
    key     uuid        NOT NULL,
    value   bytea,
    headers text        NOT NULL
);
CREATE INDEX delayed_due ON delayed (due_at, id);

-- Leases of the relays. Another relay takes over the outbox rows of an owner without a valid lease.
CREATE TABLE relay_leases (
    owner      uuid        PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Newest acknowledged offset of each partition to which this service publishes. A restore from a backup needs it.
CREATE TABLE relay_offsets (
    topic     text    NOT NULL,
    partition integer NOT NULL,
    "offset"  bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Schemas by registry id, so a service that has run before can start while the registry is unreachable.
CREATE TABLE schemas (
    id     integer PRIMARY KEY,
    schema text    NOT NULL
);
