CREATE INDEX mail_requests_silent ON mail_requests (id) WHERE message IS NULL AND outcome IS NOT NULL;
DROP INDEX mail_requests_purpose;
DROP INDEX mail_requests_counted;
