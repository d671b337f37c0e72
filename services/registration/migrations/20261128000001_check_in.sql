-- A seat whose person is here.
ALTER TABLE registrations
    DROP CONSTRAINT registrations_place_check,
    ADD CONSTRAINT registrations_place_check CHECK (place IN ('waiting', 'seat', 'checked-in', 'cancelled'));
