-- Raised by every change of an account except a login: operators send it to change only what they have read.
ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
