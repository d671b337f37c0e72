-- Checked-in attendees.
ALTER TABLE registrations
    ADD COLUMN checked_in_at timestamptz,
    DROP CONSTRAINT registrations_status_check,
    ADD CONSTRAINT registrations_status_check
        CHECK (status IN ('confirmed', 'waitlisted', 'checked-in', 'cancelled'));
