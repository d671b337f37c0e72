-- Verification of the e-mail address, and the kinds of e-mail that the user wants to receive.
ALTER TABLE profiles
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN reminders      boolean NOT NULL DEFAULT true,
    ADD COLUMN announcements  boolean NOT NULL DEFAULT true;
