-- Credentials and roles, which only the gateway stores.

-- Inserted as pending by a sign-up, whose reply activates or deletes them. They contain no e-mail: a sign-in finds the
-- user by the profile, so a change or erasure of an e-mail address takes effect here too.
CREATE TABLE credentials (
    user_id       uuid        PRIMARY KEY,
    password_hash text        NOT NULL,
    active        boolean     NOT NULL DEFAULT false,
    -- Operation of the sign-up.
    operation_id  uuid        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX credentials_pending ON credentials (operation_id) WHERE NOT active;

-- Roles of users, except `member`, which every user has.
CREATE TABLE roles (
    user_id    uuid        NOT NULL,
    role       text        NOT NULL CHECK (role IN ('organizer', 'auditor', 'admin')),
    -- NULL for the first admin, who is set in the configuration.
    granted_by uuid,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, role)
);
CREATE INDEX roles_by_role ON roles (role);

-- Signing key of all processes, which is generated once if no key is configured.
CREATE TABLE signing_keys (
    kid        text        PRIMARY KEY,
    -- PKCS#8, DER.
    private_key bytea      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
