-- What the profile says since people verify their e-mail and opt out of mails, and who is forgotten.
ALTER TABLE users ADD COLUMN erased_at timestamptz;

ALTER TABLE profiles
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN reminders      boolean NOT NULL DEFAULT true,
    ADD COLUMN announcements  boolean NOT NULL DEFAULT true;
CREATE INDEX profiles_by_username ON profiles (username text_pattern_ops);

-- What a process says of what it keeps back.
ALTER TABLE processes
    ADD COLUMN parked_keys       bigint NOT NULL DEFAULT 0,
    ADD COLUMN oldest_gap_age_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN dead_letters      bigint NOT NULL DEFAULT 0;
