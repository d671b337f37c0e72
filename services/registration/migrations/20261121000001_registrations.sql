-- Everybody's place at every event. Follows from the journal, and could be rebuilt from it.
CREATE TABLE registrations (
    id       uuid   PRIMARY KEY,
    event_id uuid   NOT NULL,
    user_id  uuid   NOT NULL,
    place    text   NOT NULL CHECK (place IN ('seat', 'waiting', 'cancelled')),
    -- The roster's version when the registration was made: lower is earlier.
    position bigint NOT NULL
) WITH (fillfactor = 90);

-- One active registration a person and event; also finds all of one person's.
CREATE UNIQUE INDEX registrations_person ON registrations (user_id, event_id) WHERE place <> 'cancelled';
-- Who is to be told when an event is cancelled, first come first.
CREATE UNIQUE INDEX registrations_active ON registrations (event_id, position) WHERE place <> 'cancelled';
-- The waiting list.
CREATE UNIQUE INDEX registrations_waiting ON registrations (event_id, position) WHERE place = 'waiting';

-- Who has registered before, or has no account any more. A registration locks its person's row FOR SHARE, and whoever
-- closes the account updates it before looking for seats: so no seat slips between.
CREATE TABLE members (
    user_id     uuid    PRIMARY KEY,
    deactivated boolean NOT NULL DEFAULT false
);
