-- Journal of event-sourced aggregates. It is empty in a service without aggregates.

-- Current version of each stream.
CREATE TABLE streams (
    stream_id uuid   PRIMARY KEY,
    aggregate text   NOT NULL,
    version   bigint NOT NULL
) WITH (fillfactor = 80);

-- Domain events of the streams, in the order of their versions.
CREATE TABLE domain_events (
    stream_id      uuid        NOT NULL,
    version        bigint      NOT NULL,
    type           text        NOT NULL,
    -- Framed Avro bytes, as they are published.
    payload        bytea       NOT NULL,
    message_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    actor          text,
    -- Time of the message.
    said_at        timestamptz NOT NULL,
    PRIMARY KEY (stream_id, version)
);

-- State of aggregates at a version, so not all of their domain events must be read.
CREATE TABLE snapshots (
    stream_id uuid   PRIMARY KEY,
    aggregate text   NOT NULL,
    version   bigint NOT NULL,
    state     text   NOT NULL
);
