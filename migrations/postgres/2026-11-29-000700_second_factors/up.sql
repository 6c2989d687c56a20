-- A secret that is present is a second factor; NULL: there is none. Both secrets are sealed.
ALTER TABLE users ADD COLUMN totp_secret BYTEA;
-- For the count of accounts with a factor, and the change of the master secret.
CREATE INDEX users_with_factor ON users (id) WHERE totp_secret IS NOT NULL;
-- The step of the last code that was accepted: a code is good once.
ALTER TABLE users ADD COLUMN totp_last_step BIGINT;
-- A secret that its owner has not confirmed by a code yet.
ALTER TABLE users ADD COLUMN totp_pending BYTEA;
ALTER TABLE users ADD COLUMN totp_pending_at BIGINT;
-- Codes that were tried since the beginning of the window.
ALTER TABLE users ADD COLUMN factor_failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN factor_window_at BIGINT;
-- The SHA-256 of each unused recovery code.
ALTER TABLE users ADD COLUMN recovery_codes BYTEA;
-- When and how the user of a session was last authenticated; NULL for sessions from before.
ALTER TABLE sessions ADD COLUMN auth_time BIGINT;
ALTER TABLE sessions ADD COLUMN amr TEXT;
