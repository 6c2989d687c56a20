ALTER TABLE sessions DROP COLUMN changed_password_at;
