-- The secret before the present one, and until when it is accepted beside it.
ALTER TABLE clients ADD COLUMN old_secret_hash BYTEA;
ALTER TABLE clients ADD COLUMN old_secret_until BIGINT;
-- Raised by every change of a client.
ALTER TABLE clients ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
