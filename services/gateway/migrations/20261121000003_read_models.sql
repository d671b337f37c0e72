-- Read models: copies of data that services publish. Messages on different topics have no relative order, so each
-- row is written from one topic only. Rows that belong together are joined when they are read, and one of them may be
-- temporarily missing.

-- From `users`.
CREATE TABLE users (
    id             uuid        PRIMARY KEY,
    created_at     timestamptz NOT NULL,
    deactivated_at timestamptz,
    version        bigint      NOT NULL
);

-- From `users.profiles`.
CREATE TABLE profiles (
    user_id       uuid   PRIMARY KEY,
    email         text   NOT NULL,
    -- E-mail address in lower case, because e-mail addresses that differ only in case are the same.
    email_key     text   NOT NULL,
    username      text   NOT NULL,
    full_name     text   NOT NULL,
    date_of_birth date   NOT NULL,
    time_zone     text   NOT NULL,
    version       bigint NOT NULL
);
CREATE INDEX profiles_by_email ON profiles (email_key);

-- From `events`.
CREATE TABLE events (
    id                     uuid        PRIMARY KEY,
    organizer_id           uuid        NOT NULL,
    title                  text        NOT NULL,
    description            text        NOT NULL,
    venue                  text        NOT NULL,
    starts_at              timestamptz NOT NULL,
    ends_at                timestamptz NOT NULL,
    time_zone              text        NOT NULL,
    capacity               integer     NOT NULL,
    registration_closes_at timestamptz NOT NULL,
    waiting_list           boolean     NOT NULL,
    status                 text        NOT NULL CHECK (status IN ('draft', 'published', 'cancelled', 'ended')),
    created_at             timestamptz NOT NULL,
    published_at           timestamptz,
    cancelled_at           timestamptz,
    cancel_reason          text,
    ended_at               timestamptz,
    version                bigint      NOT NULL
);
CREATE INDEX events_published ON events (starts_at, id) WHERE status = 'published';
CREATE INDEX events_by_organizer ON events (organizer_id, id);

-- From `registrations`: seat counts of each event.
CREATE TABLE rosters (
    event_id uuid    PRIMARY KEY,
    capacity integer NOT NULL,
    taken    bigint  NOT NULL,
    waiting  bigint  NOT NULL,
    closed   boolean NOT NULL,
    version  bigint  NOT NULL
) WITH (fillfactor = 80);

-- From `registrations`.
CREATE TABLE registrations (
    id            uuid        PRIMARY KEY,
    event_id      uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    status        text        NOT NULL CHECK (status IN ('confirmed', 'waitlisted', 'cancelled')),
    -- Sequence of the registration's first domain event, which defines the order of the waiting list.
    position      bigint      NOT NULL,
    registered_at timestamptz NOT NULL,
    confirmed_at  timestamptz,
    cancelled_at  timestamptz,
    cancel_reason text,
    version       bigint      NOT NULL
);
CREATE INDEX registrations_by_event ON registrations (event_id, position);
CREATE INDEX registrations_waiting ON registrations (event_id, position) WHERE status = 'waitlisted';
CREATE INDEX registrations_by_user ON registrations (user_id, id DESC);

-- From `notifications`.
CREATE TABLE notifications (
    id       uuid        PRIMARY KEY,
    user_id  uuid        NOT NULL,
    kind     text        NOT NULL,
    status   text        NOT NULL CHECK (status IN ('sent', 'failed')),
    cause_id uuid        NOT NULL,
    reason   text,
    at       timestamptz NOT NULL
);
CREATE INDEX notifications_by_user ON notifications (user_id, at DESC, id DESC);

-- From `ops.status`: newest report of each process.
CREATE TABLE processes (
    instance             uuid        PRIMARY KEY,
    service              text        NOT NULL,
    version              text        NOT NULL,
    started_at           timestamptz NOT NULL,
    reported_at          timestamptz NOT NULL,
    ready                boolean     NOT NULL,
    outbox_rows          bigint      NOT NULL,
    outbox_oldest_age_ms bigint      NOT NULL,
    -- [{"topic", "partition", "position", "lag", "lag_ms"}]
    assignments          jsonb       NOT NULL
);
CREATE INDEX processes_by_report ON processes (reported_at);
