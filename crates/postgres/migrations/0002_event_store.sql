-- The journal of event-sourced aggregates. A service without aggregates leaves it empty.

CREATE TABLE streams (
    stream_id uuid   PRIMARY KEY,
    aggregate text   NOT NULL,
    version   bigint NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE domain_events (
    stream_id      uuid        NOT NULL,
    version        bigint      NOT NULL,
    type           text        NOT NULL,
    -- The framed Avro bytes that are published.
    payload        bytea       NOT NULL,
    message_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    actor          text,
    said_at        timestamptz NOT NULL,
    PRIMARY KEY (stream_id, version)
);

CREATE TABLE snapshots (
    stream_id uuid   PRIMARY KEY,
    aggregate text   NOT NULL,
    version   bigint NOT NULL,
    state     text   NOT NULL
);
