-- Ops queries: pending rows, and the redrive of a dead letter.
ALTER TABLE dead_letters ADD COLUMN redriven_as uuid;
CREATE INDEX sequences_held ON sequences (topic, key) WHERE has_parked;
DROP INDEX sequences_poisoned;
