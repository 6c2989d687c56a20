DROP INDEX sessions_not_revoked;
ALTER TABLE users DROP COLUMN credentials_version;
