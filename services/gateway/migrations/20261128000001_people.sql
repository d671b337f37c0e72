-- Verified e-mail addresses and the choice of e-mails in the profile; erased users; parked keys and gaps that a process
-- reports.
ALTER TABLE users ADD COLUMN erased_at timestamptz;

ALTER TABLE profiles
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN reminders      boolean NOT NULL DEFAULT true,
    ADD COLUMN announcements  boolean NOT NULL DEFAULT true;
CREATE INDEX profiles_by_username ON profiles (username text_pattern_ops);

-- Parked keys, gaps and dead letters that a process reports.
ALTER TABLE processes
    ADD COLUMN parked_keys       bigint NOT NULL DEFAULT 0,
    ADD COLUMN oldest_gap_age_ms bigint NOT NULL DEFAULT 0,
    ADD COLUMN dead_letters      bigint NOT NULL DEFAULT 0;
