-- Indexes for the queries of operators and of the status report, which must not become slower as tables grow.

-- `where-is` searches by the id of a message, and by the two headers that name a message or its chain. The outbox has no
-- such index, because every message passes through it.
CREATE INDEX sequences_last_id ON sequences (last_id);
CREATE INDEX parked_message ON parked (message_id);
CREATE INDEX dead_letters_redriven ON dead_letters (redriven_as) WHERE redriven_as IS NOT NULL;
-- A header of a third party may contain NUL, which jsonb cannot.
CREATE INDEX parked_headers ON parked USING gin ((replace(headers, '\u0000', '\ufffd')::jsonb) jsonb_path_ops);
CREATE INDEX dead_letters_headers ON dead_letters
    USING gin ((replace(headers, '\u0000', '\ufffd')::jsonb) jsonb_path_ops);
CREATE INDEX delayed_headers ON delayed USING gin ((replace(headers, '\u0000', '\ufffd')::jsonb) jsonb_path_ops);

-- Every report of a process counts these rows.
CREATE INDEX dead_letters_open ON dead_letters (id) WHERE redriven_as IS NULL;
CREATE INDEX parked_since ON parked (topic, key, parked_at);
