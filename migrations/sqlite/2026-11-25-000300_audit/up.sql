-- Ids begin with the time, so they are in the order in which things happened. No event refers to a row of another table:
-- it outlives what it tells of.
CREATE TABLE audit_events (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    user_id TEXT,
    session_id TEXT,
    address TEXT,
    detail TEXT,
    times INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_events_user_id ON audit_events (user_id, id) WHERE user_id IS NOT NULL;
