DROP INDEX users_with_grants;
ALTER TABLE users DROP COLUMN claims;
