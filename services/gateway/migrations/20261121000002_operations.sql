-- What was asked of other services, and what became of it.
CREATE TABLE operations (
    -- Also the correlation id, the command's id and the reply's key.
    id              uuid        PRIMARY KEY,
    kind            text        NOT NULL,
    -- The user who asked; NULL: nobody who was signed in.
    principal       uuid,
    -- What it is about: a user, an event, a registration.
    resource_id     uuid        NOT NULL,
    -- `accepted` is shown as succeeded once the read models hold the effects.
    state           text        NOT NULL DEFAULT 'pending'
                                CHECK (state IN ('pending', 'accepted', 'rejected', 'failed')),
    -- [{"topic" (with prefix), "key", "sequence"}]: what a reader must have seen to see the outcome.
    effects         jsonb,
    -- The answer to a question.
    result          text,
    code            text,
    detail          text,
    -- [{"field", "code", "message"}]
    errors          jsonb,
    scope           text,
    idempotency_key text,
    -- HMAC of the request: the body holds a password where this is a sign-up.
    fingerprint     bytea,
    -- Until then at most, the request that began it waits for the outcome.
    held_until      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at    timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX operations_idempotency ON operations (scope, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_by_principal ON operations (principal, id DESC) WHERE principal IS NOT NULL;
CREATE INDEX operations_by_age ON operations (created_at);
