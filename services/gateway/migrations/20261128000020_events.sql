-- Columns for events that can be changed, rescheduled and staffed; full-text search; history of events.
ALTER TABLE events
    ADD COLUMN registration_opens_at timestamptz,
    ADD COLUMN staff                 uuid[]      NOT NULL DEFAULT '{}',
    ADD COLUMN updated_at            timestamptz,
    -- 'simple', because events are in any language, and wrong stems hide more events than correct ones find. Each text is
    -- cut, because the size of a tsvector is limited, and a string that is too long must not stop the read model.
    ADD COLUMN search                tsvector    NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', left(title, 1000) || ' ' || left(venue, 1000) || ' ' || left(description, 50000))) STORED;
UPDATE events SET updated_at = coalesce(ended_at, cancelled_at, published_at, created_at);
ALTER TABLE events ALTER COLUMN updated_at SET NOT NULL;

CREATE INDEX events_search ON events USING gin (search);
DROP INDEX events_published, events_by_organizer;
CREATE INDEX events_by_status ON events (status, starts_at, id);
CREATE INDEX events_by_organizer ON events (organizer_id, status, starts_at, id);

-- From `events`: one row per domain event, with the state of the event after it.
CREATE TABLE event_history (
    event_id       uuid        NOT NULL,
    version        bigint      NOT NULL,
    -- Full name of the record's schema.
    type           text        NOT NULL,
    at             timestamptz NOT NULL,
    actor          text,
    correlation_id uuid        NOT NULL,
    content        jsonb       NOT NULL,
    state          jsonb       NOT NULL,
    PRIMARY KEY (event_id, version)
);

-- Queries for the e-mails about one event, and for one kind of e-mail.
ALTER TABLE notifications ADD COLUMN event_id uuid;
CREATE INDEX notifications_by_event ON notifications (user_id, event_id, at DESC, id DESC) WHERE event_id IS NOT NULL;
CREATE INDEX notifications_by_kind ON notifications (user_id, kind, at DESC, id DESC);
