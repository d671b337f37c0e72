-- The bookkeeping of delivery: what must be written together with an effect.

-- The next offset of each partition. Its row is a transaction's first lock.
CREATE TABLE consumed (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Messages without a sequence that took effect. A message's time is the same in every copy of it, so it
-- names the partition to look into; partitions are dropped whole.
CREATE TABLE inbox (
    day        date    NOT NULL,
    message_id uuid    NOT NULL,
    attempt    integer NOT NULL,
    PRIMARY KEY (day, message_id, attempt)
) PARTITION BY RANGE (day);
-- Clocks that are wrong, and messages older than this service.
CREATE TABLE inbox_other PARTITION OF inbox DEFAULT;

-- How far each key of a sequenced topic was applied.
CREATE TABLE sequences (
    topic       text    NOT NULL,
    key         uuid    NOT NULL,
    last        bigint  NOT NULL,
    last_id     uuid,
    -- The sequence that can't be applied and holds the key back.
    poisoned_at bigint,
    has_parked  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 80);
CREATE INDEX sequences_poisoned ON sequences (topic, key) WHERE poisoned_at IS NOT NULL;

-- Records that wait behind a gap, or behind a poison message of their key.
CREATE TABLE parked (
    topic      text        NOT NULL,
    key        uuid        NOT NULL,
    sequence   bigint      NOT NULL,
    message_id uuid        NOT NULL,
    partition  integer     NOT NULL,
    "offset"   bigint      NOT NULL,
    said_at    timestamptz NOT NULL,
    value      bytea,
    headers    text        NOT NULL,
    error      text        NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, key, sequence)
);

-- Records that nobody will apply, with their bytes.
CREATE TABLE dead_letters (
    id        uuid        PRIMARY KEY,
    reason    text        NOT NULL,
    detail    text        NOT NULL,
    topic     text        NOT NULL,
    partition integer     NOT NULL,
    "offset"  bigint      NOT NULL,
    said_at   timestamptz NOT NULL,
    key       bytea,
    value     bytea,
    headers   text        NOT NULL,
    buried_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Messages to publish. CACHE 1 and insertion in array order make `id` the order in which one
-- transaction said them; order between transactions is the sequence's affair.
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

-- Messages for later. They belong to nobody: whichever relay lives when they fall due moves them over.
CREATE TABLE delayed (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at  timestamptz NOT NULL,
    topic   text        NOT NULL,
    key     uuid        NOT NULL,
    value   bytea,
    headers text        NOT NULL
);
CREATE INDEX delayed_due ON delayed (due_at, id);

CREATE TABLE relay_leases (
    owner      uuid        PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- The newest acknowledged offset of each own topic and partition: a restore from a backup needs it.
CREATE TABLE relay_offsets (
    topic     text    NOT NULL,
    partition integer NOT NULL,
    "offset"  bigint  NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Schemas by registry id: a registry that is down stops nobody who has run before.
CREATE TABLE schemas (
    id     integer PRIMARY KEY,
    schema text    NOT NULL
);
