-- Whether an account has had a session at an address is asked at every login: it must cost the same for an account with
-- many sessions elsewhere as for one that does not exist. Those of an account are found by it as well.
CREATE INDEX sessions_user_id_address ON sessions (user_id, address);
DROP INDEX sessions_user_id;
