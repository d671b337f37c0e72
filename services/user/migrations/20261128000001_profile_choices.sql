-- Whether the address is known to be the person's, and which mails the person wants.
ALTER TABLE profiles
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN reminders      boolean NOT NULL DEFAULT true,
    ADD COLUMN announcements  boolean NOT NULL DEFAULT true;
