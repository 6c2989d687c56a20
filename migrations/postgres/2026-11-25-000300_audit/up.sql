-- Ids begin with the time, so they are in the order in which things happened. No event refers to a row of another table:
-- it outlives what it tells of.
CREATE TABLE audit_events (
    id UUID PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    user_id UUID,
    session_id UUID,
    address TEXT,
    detail TEXT,
    times BIGINT NOT NULL
);
CREATE INDEX audit_events_user_id ON audit_events (user_id, id) WHERE user_id IS NOT NULL;
