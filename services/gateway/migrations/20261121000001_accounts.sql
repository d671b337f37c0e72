-- Who may sign in, and what they may do. The gateway is the only one who knows.

-- Written with the sign-up, pending; the reply activates or deletes them. They hold no e-mail: signing in finds the
-- user by the profile, so that an erased or changed e-mail is so here too.
CREATE TABLE credentials (
    user_id       uuid        PRIMARY KEY,
    password_hash text        NOT NULL,
    active        boolean     NOT NULL DEFAULT false,
    -- The sign-up that they came with.
    operation_id  uuid        NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX credentials_pending ON credentials (operation_id) WHERE NOT active;

-- Beyond `member`, which everybody is.
CREATE TABLE roles (
    user_id    uuid        NOT NULL,
    role       text        NOT NULL CHECK (role IN ('organizer', 'auditor', 'admin')),
    -- NULL: the first admin, by configuration.
    granted_by uuid,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, role)
);
CREATE INDEX roles_by_role ON roles (role);

-- Where no key is configured, one is made here once, for all processes.
CREATE TABLE signing_keys (
    kid        text        PRIMARY KEY,
    -- PKCS#8, DER.
    private_key bytea      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
