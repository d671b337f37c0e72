-- A message's id tells when it was said: this finds its domain events without an index that every one pays for.
CREATE INDEX domain_events_said ON domain_events USING brin (said_at) WITH (pages_per_range = 32);
