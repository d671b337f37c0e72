-- What events say since they can be changed, moved and staffed; how they are found; and what happened to them.
ALTER TABLE events
    ADD COLUMN registration_opens_at timestamptz,
    ADD COLUMN staff                 uuid[]      NOT NULL DEFAULT '{}',
    ADD COLUMN updated_at            timestamptz,
    -- 'simple', because events are in any language, and the wrong stems hide more than the right ones find. Bounded,
    -- because a tsvector is: a text that is too long must not be what a read model stops at.
    ADD COLUMN search                tsvector    NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', left(title, 1000) || ' ' || left(venue, 1000) || ' ' || left(description, 50000))) STORED;
UPDATE events SET updated_at = coalesce(ended_at, cancelled_at, published_at, created_at);
ALTER TABLE events ALTER COLUMN updated_at SET NOT NULL;

CREATE INDEX events_search ON events USING gin (search);
DROP INDEX events_published, events_by_organizer;
CREATE INDEX events_by_status ON events (status, starts_at, id);
CREATE INDEX events_by_organizer ON events (organizer_id, status, starts_at, id);

-- From `events`: a row a domain event, with the event as it was after it.
CREATE TABLE event_history (
    event_id       uuid        NOT NULL,
    version        bigint      NOT NULL,
    -- Full name of the record.
    type           text        NOT NULL,
    at             timestamptz NOT NULL,
    actor          text,
    correlation_id uuid        NOT NULL,
    content        jsonb       NOT NULL,
    state          jsonb       NOT NULL,
    PRIMARY KEY (event_id, version)
);

-- Mails about one event.
ALTER TABLE notifications ADD COLUMN event_id uuid;
CREATE INDEX notifications_by_event ON notifications (user_id, event_id, at DESC, id DESC) WHERE event_id IS NOT NULL;
CREATE INDEX notifications_by_kind ON notifications (user_id, kind, at DESC, id DESC);
