-- Until when an invited account, which has no password, accepts its invitation; NULL for all others.
ALTER TABLE users ADD COLUMN invited_until INTEGER;
-- The invitations, for the purge.
CREATE INDEX users_invited ON users (invited_until) WHERE invited_until IS NOT NULL;
