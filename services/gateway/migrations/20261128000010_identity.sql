-- Sessions with refresh tokens, and links sent by e-mail.

-- One sign-in, with all tokens that are issued after it. It ends when its row is deleted, and its
-- refresh tokens with it.
CREATE TABLE session_families (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX session_families_by_user ON session_families (user_id, created_at);

CREATE TABLE refresh_tokens (
    -- SHA-256, so a reader of this table cannot sign in.
    hash       bytea       PRIMARY KEY,
    family_id  uuid        NOT NULL REFERENCES session_families ON DELETE CASCADE,
    -- Used tokens are kept, so the reuse of a token is detected.
    used_at    timestamptz,
    expires_at timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Ids that make links sent by e-mail single-use. Tokens are not stored, because they are derived from these ids with a
-- key.
CREATE TABLE link_nonces (
    nonce      uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL,
    purpose    text        NOT NULL CHECK (purpose IN ('verify-email', 'reset-password')),
    expires_at timestamptz NOT NULL
);
CREATE INDEX link_nonces_by_user ON link_nonces (user_id);
CREATE INDEX link_nonces_by_expiry ON link_nonces (expires_at);

-- NULL for an admin whom an operator created and who has not yet set a password with a link sent by e-mail.
ALTER TABLE credentials ALTER COLUMN password_hash DROP NOT NULL;

-- For the admins' search by prefix.
CREATE INDEX profiles_by_email_prefix ON profiles (email_key text_pattern_ops);
CREATE INDEX profiles_by_name_prefix ON profiles (lower(full_name) text_pattern_ops);
