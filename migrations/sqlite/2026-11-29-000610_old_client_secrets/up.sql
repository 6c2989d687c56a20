-- The secret before the present one, and until when it is accepted beside it.
ALTER TABLE clients ADD COLUMN old_secret_hash BLOB;
ALTER TABLE clients ADD COLUMN old_secret_until INTEGER;
-- Raised by every change of a client.
ALTER TABLE clients ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
