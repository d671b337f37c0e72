-- Checked-in attendees.
ALTER TABLE registrations
    DROP CONSTRAINT registrations_status_check,
    ADD CONSTRAINT registrations_status_check CHECK (status IN ('waiting', 'seat', 'checked-in', 'cancelled'));
