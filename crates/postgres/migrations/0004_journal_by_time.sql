-- A message id contains its time, so domain events can be found by time without an index that slows down every
-- insert.
CREATE INDEX domain_events_said ON domain_events USING brin (said_at) WITH (pages_per_range = 32);
