-- NULL: the address is not proven.
ALTER TABLE users ADD COLUMN email_verified_at INTEGER;
ALTER TABLE users ADD COLUMN locale TEXT;

-- Mail requests and their messages. Links and codes are computed from the id and not stored.
CREATE TABLE mail_requests (
    id TEXT PRIMARY KEY NOT NULL,
    purpose TEXT NOT NULL,
    message TEXT,
    user_id TEXT,
    address TEXT NOT NULL,
    address_key TEXT NOT NULL,
    network TEXT,
    device TEXT,
    quota TEXT,
    password_hash TEXT,
    credentials_version INTEGER,
    detail TEXT,
    locale TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    sends INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    next_send_at INTEGER,
    leased_until INTEGER,
    handed_at INTEGER,
    used_at INTEGER,
    expires_at INTEGER NOT NULL,
    outcome TEXT
) STRICT, WITHOUT ROWID;
-- The limits count the rows of an address at each request and for each message.
CREATE INDEX mail_requests_address_key ON mail_requests (address_key, purpose);
CREATE INDEX mail_requests_user_id ON mail_requests (user_id) WHERE user_id IS NOT NULL;
-- Requests without a choice of their message yet, by age.
CREATE INDEX mail_requests_new ON mail_requests (id) WHERE message IS NULL AND outcome IS NULL;
-- Messages that wait, in the order in which they are sent.
CREATE INDEX mail_requests_due ON mail_requests (next_send_at, id) WHERE next_send_at IS NOT NULL;
CREATE INDEX mail_requests_expires_at ON mail_requests (expires_at);
-- Requests without a message: they are deleted first when the table is full.
CREATE INDEX mail_requests_silent ON mail_requests (id) WHERE message IS NULL AND outcome IS NOT NULL;
