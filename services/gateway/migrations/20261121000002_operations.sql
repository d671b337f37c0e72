-- Operations and their outcomes.
CREATE TABLE operations (
    -- Also the correlation id, the id of the command and the key of the reply.
    id              uuid        PRIMARY KEY,
    kind            text        NOT NULL,
    -- Requesting user; NULL if not signed in.
    principal       uuid,
    -- User, event or registration that the operation concerns.
    resource_id     uuid        NOT NULL,
    -- `accepted` is shown as succeeded once the read models contain the effects.
    state           text        NOT NULL DEFAULT 'pending'
                                CHECK (state IN ('pending', 'accepted', 'rejected', 'failed')),
    -- [{"topic" (with prefix), "key", "sequence"}]: domain events that the read models must have applied.
    effects         jsonb,
    -- Result of a query.
    result          text,
    code            text,
    detail          text,
    -- [{"field", "code", "message"}]
    errors          jsonb,
    scope           text,
    idempotency_key text,
    -- HMAC of the request, because the body of a sign-up contains a password.
    fingerprint     bytea,
    -- The HTTP request waits for the outcome until this time at most.
    held_until      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at    timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX operations_idempotency ON operations (scope, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_by_principal ON operations (principal, id DESC) WHERE principal IS NOT NULL;
CREATE INDEX operations_by_age ON operations (created_at);
