-- The oldest requests with a purpose that a limit on requests counts: they make room in a full table.
CREATE INDEX mail_requests_counted ON mail_requests (purpose, id) WHERE network IS NOT NULL;
-- The number of requests with a purpose, and those whose code has expired.
CREATE INDEX mail_requests_purpose ON mail_requests (purpose, expires_at);
DROP INDEX mail_requests_silent;
