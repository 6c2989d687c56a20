-- When the password was changed with this session, which ended by that and is still trusted as a sign of its device;
-- NULL for every other session, and for those from before.
ALTER TABLE sessions ADD COLUMN changed_password_at INTEGER;
