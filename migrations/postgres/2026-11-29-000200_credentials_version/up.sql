-- Raised by whatever changes the credentials or the state of an account: a login that has read them before starts no
-- session.
ALTER TABLE users ADD COLUMN credentials_version BIGINT NOT NULL DEFAULT 0;
-- The sessions that an end of all has to find, whatever the clock says. A refresh changes neither column.
CREATE INDEX sessions_not_revoked ON sessions (user_id) WHERE revoked_at IS NULL;
