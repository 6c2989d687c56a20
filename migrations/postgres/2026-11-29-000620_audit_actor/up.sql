-- The operator: os:NAME for a command, or the id of a client of the admin API; NULL for users and the service itself.
ALTER TABLE audit_events ADD COLUMN actor TEXT;
