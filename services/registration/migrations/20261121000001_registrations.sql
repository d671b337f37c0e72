-- Registrations and their status. They are derived from the journal and can be rebuilt from it.
CREATE TABLE registrations (
    id       uuid   PRIMARY KEY,
    event_id uuid   NOT NULL,
    user_id  uuid   NOT NULL,
    status   text   NOT NULL CHECK (status IN ('seat', 'waiting', 'cancelled')),
    -- Version of the roster when the registration was created: lower means earlier.
    position bigint NOT NULL
) WITH (fillfactor = 90);

-- At most one active registration per user and event. Also finds all active registrations of a user.
CREATE UNIQUE INDEX registrations_person ON registrations (user_id, event_id) WHERE status <> 'cancelled';
-- Active registrations of an event, which are cancelled with it in the order of registration.
CREATE UNIQUE INDEX registrations_active ON registrations (event_id, position) WHERE status <> 'cancelled';
-- Waiting list of an event.
CREATE UNIQUE INDEX registrations_waiting ON registrations (event_id, position) WHERE status = 'waiting';

-- Users who have registered before, or whose account is closed. A registration locks its user's row FOR SHARE, and
-- closing an account updates that row before it queries the user's registrations, so none is missed.
CREATE TABLE members (
    user_id     uuid    PRIMARY KEY,
    deactivated boolean NOT NULL DEFAULT false
);
