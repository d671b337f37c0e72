-- Sign-ins that last, and links that are mailed.

-- One sign-in and all that comes of it. It ends by being deleted, and its refresh tokens with it.
CREATE TABLE session_families (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX session_families_by_user ON session_families (user_id, created_at);

CREATE TABLE refresh_tokens (
    -- SHA-256: who reads this table can't sign in with it.
    hash       bytea       PRIMARY KEY,
    family_id  uuid        NOT NULL REFERENCES session_families ON DELETE CASCADE,
    -- A used one is kept, so that its second use is known for what it is.
    used_at    timestamptz,
    expires_at timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- What makes mailed links good for once. Their tokens are nowhere: they are made of these under a key.
CREATE TABLE link_nonces (
    nonce      uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    purpose    text        NOT NULL CHECK (purpose IN ('verify-email', 'reset-password')),
    expires_at timestamptz NOT NULL
);
CREATE INDEX link_nonces_by_user ON link_nonces (user_id);
CREATE INDEX link_nonces_by_expiry ON link_nonces (expires_at);

-- NULL: an admin made by an operator has no password until one is set by a mailed link.
ALTER TABLE credentials ALTER COLUMN password_hash DROP NOT NULL;

-- For an admin's search by prefix.
CREATE INDEX profiles_by_email_prefix ON profiles (email_key text_pattern_ops);
CREATE INDEX profiles_by_name_prefix ON profiles (lower(full_name) text_pattern_ops);
