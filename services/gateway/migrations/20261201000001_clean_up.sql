-- Indexes of the rows that clean-ups delete, so that none of them reads a whole table.
CREATE INDEX operations_keys_by_age ON operations (created_at) WHERE idempotency_key IS NOT NULL;
-- All kinds of queries, which are stored for an hour only.
CREATE INDEX operations_queries_by_age ON operations (created_at) WHERE kind IN (
    'find-parked', 'find-dead-letters', 'where-is', 'find-audit-entries', 'prove-audit-entry', 'find-checkpoints',
    'find-certificates', 'verify-audit-log');
CREATE INDEX credentials_pending_by_age ON credentials (created_at) WHERE NOT active;
