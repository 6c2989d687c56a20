-- Moments are microseconds since 1970.
CREATE TABLE users (
    id UUID PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    password_changed_at BIGINT NOT NULL,
    last_login_at BIGINT,
    disabled_at BIGINT,
    closed_at BIGINT
);
CREATE INDEX users_closed_at ON users (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE sessions (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    client_id TEXT NOT NULL,
    family_hash BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    rotated_at BIGINT,
    retry_keys BYTEA NOT NULL,
    forgiven_generation BIGINT,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    revoked_at BIGINT,
    end_reason TEXT,
    label TEXT,
    user_agent TEXT,
    address TEXT
);
CREATE INDEX sessions_user_id ON sessions (user_id);
-- Neither column changes when a session is refreshed, so a refresh writes no index.
CREATE INDEX sessions_ends_at ON sessions (ends_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE blocklist (
    id UUID PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);
CREATE INDEX blocklist_expires_at ON blocklist (expires_at);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    alg TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    jwk TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    created_at BIGINT NOT NULL,
    activated_at BIGINT,
    retired_at BIGINT
);
-- Whatever goes wrong, two keys never sign, and two never wait to.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state <> 'retired';
