-- Moments are microseconds since 1970; ids are UUIDs in lower-case text.
CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    password_changed_at INTEGER NOT NULL,
    last_login_at INTEGER,
    disabled_at INTEGER,
    closed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX users_closed_at ON users (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    client_id TEXT NOT NULL,
    family_hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    rotated_at INTEGER,
    retry_keys BLOB NOT NULL,
    forgiven_generation INTEGER,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    revoked_at INTEGER,
    end_reason TEXT,
    label TEXT,
    user_agent TEXT,
    address TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_user_id ON sessions (user_id);
-- Neither column changes when a session is refreshed, so a refresh writes no index.
CREATE INDEX sessions_ends_at ON sessions (ends_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE blocklist (
    id TEXT PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blocklist_expires_at ON blocklist (expires_at);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    alg TEXT NOT NULL,
    sealed BLOB NOT NULL,
    jwk TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    created_at INTEGER NOT NULL,
    activated_at INTEGER,
    retired_at INTEGER
) STRICT, WITHOUT ROWID;
-- Whatever goes wrong, two keys never sign, and two never wait to.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state <> 'retired';
