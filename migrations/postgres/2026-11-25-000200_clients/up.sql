-- Ids are UUIDs in lower-case text, as they stand in sessions.client_id. Durations are microseconds. Scopes and origins
-- are lists with spaces between. A public client has no secret, a confidential one no settings of sessions.
CREATE TABLE clients (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('public', 'confidential')),
    name TEXT NOT NULL,
    secret_hash BYTEA,
    scopes TEXT NOT NULL DEFAULT '',
    origins TEXT NOT NULL DEFAULT '',
    token_lifetime BIGINT,
    retry_window BIGINT,
    created_at BIGINT NOT NULL,
    CHECK ((kind = 'confidential') = (secret_hash IS NOT NULL))
);
