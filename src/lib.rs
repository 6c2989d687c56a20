//! Doorward is a self-hosted login service. It checks a password against an Argon2 hash, issues a
//! short-lived access token (a signed JWT) and a rotating refresh token, and can revoke both at
//! once.
//!
//! This page is the architecture overview. It describes each module and the allowed dependencies,
//! and follows one request from the socket to the disk and back.
//!
//! # Architecture
//!
//! ```text
//! main ──► cli, app ──► http ──► accounts ──► sessions ──► keys, revocations ──► database ──► clock
//!           │                   │            │              │  audit, mail                 ▲
//!           ▼                   ▼            ▼              ▼                              │
//!         config       passwords factors refresh_token      tokens ────────────────────────┘
//!                                      clients
//! ```
//!
//! Calls go to the right and down, never back; `tests/shape.rs` reads the `use` lines and checks
//! it. In addition, every module may use `clock`, `locks`, `log_rate_limit`, `loopback`, `metrics`,
//! `named` and `secret`.
//!
//! - [`config`]: every setting, defined once: default, bounds and meaning. Only `main`, [`app`] and
//!   [`cli`] read it; other modules get small structs such as [`sessions::SessionPolicy`].
//! - [`cli`]: the commands, one module each.
//! - [`app`]: assembles and starts the service, runs the background tasks, shuts down without
//!   losing a request.
//! - [`http`]: the route table on one screen (`http/routes.rs`), the middleware that every request
//!   passes, short handlers by resource (`http/resources`), the parts of a request that they take
//!   (`http/request`), listeners and TLS (`http/server`), and the one place where an error of the
//!   domain becomes a status and a text (`http/errors.rs`, with the texts in [`http::problem`]).
//! - [`accounts`]: sign up, log in, change or reset the password, change the address, close; login
//!   throttling.
//! - [`sessions`]: start, refresh, list, end. The rule for refresh tokens is one pure function,
//!   [`sessions::rotation::decide`].
//! - [`clients`]: the apps and services that tokens are issued to, their secrets and settings.
//! - [`passwords`]: parsing, policy and hashing, with the bounded hashing pool.
//! - [`factors`]: TOTP secrets, recovery codes, and the tokens of an unfinished login; no I/O.
//! - [`tokens`]: access tokens: claims, signing, strict verification, the cache of verified ones.
//!   Only this module uses `jsonwebtoken`. A separate crate.
//! - [`refresh_token`]: the format of refresh tokens; no I/O.
//! - [`keys`]: signing keys and their states: next, active, retired, removed.
//! - [`revocations`]: the blocklist (a table), the revocation list (its copy in memory, for
//!   verification), their sync between nodes, and the revocation feed.
//! - [`audit`]: security events: logged, stored in the unit of work that causes them, and listed.
//! - [`mail`](mod@mail): requests that a mailbox proves, notices, the outbox and its sender. The
//!   rule for requests is one pure function, [`mail::decide::decide`].
//! - [`database`]: two calls, `read` and `write`, each a unit of work. SQLite has one writer thread
//!   that commits in groups; PostgreSQL has a pool. `database/maintenance` contains the work on a
//!   whole database: migrations, schema drift, copies and backups; [`cli::db`] is its command.
//! - [`secret`]: randomness, key derivation, comparison in constant time, text that `Debug` hides.
//! - [`metrics`]: metrics that several modules count. Every other metric belongs to the module that
//!   counts it; `app/metrics.rs` lists them all. `named`: enums whose values have stable names.
//! - `loopback`: hosts that are this machine by their names.
//! - [`log_rate_limit`]: log lines at a bounded rate.
//! - [`clock`]: the only source of time, so that tests can control it.
//!
//! # One request: `POST /refresh`
//!
//! 1. The [`http::middleware`] assigns the request an id and opens a span for its log lines.
//! 2. The handler in `http/resources/sessions.rs` reads the body (bounded in size, depth and time),
//!    and [`refresh_token::TagKeys::decode`] verifies the token's tag: a forgery is rejected here,
//!    before any I/O. The session's rate limit is next.
//! 3. [`sessions::Sessions::refresh`] passes a closure to [`database::Database::write_one`], which
//!    is for units that read and then write by one compare-and-set statement. The writer thread of
//!    SQLite puts it into a group with the other queued units, and runs it in its own savepoint: it
//!    reads the session's row, calls [`sessions::rotation::decide`], and stores the decision by one
//!    `UPDATE`.
//! 4. The group commits: one fsync. Only now are responses sent. If a reuse had ended the session,
//!    the hook that [`revocations::Revocations::revoke`] added to the unit would put its id into
//!    the in-memory list, between the commit and the response.
//! 5. The access token is signed with the active key ([`keys::Keys::signing`]); its times are those
//!    that the unit read.
//! 6. On the way out the middleware adds the headers of every response. A rejection would have been
//!    a value of the unit, which `http/errors.rs` converts to a problem document.
//!
//! # One logout, and how it reaches the other nodes
//!
//! 1. [`sessions::Sessions::log_out`] ends the session's row and adds its id to the blocklist, in
//!    one unit of work. After the commit and before the response, the unit's hook adds the id to
//!    the in-memory list of this node: from now on it rejects the session's access tokens.
//! 2. Another node on PostgreSQL receives a `NOTIFY`, and polls once a second in case it was lost:
//!    it reads the entries of transactions that were not visible at the poll before. With
//!    `revocations.sync = "poll"` it reads the whole blocklist instead. Another process on SQLite
//!    polls the file's `data_version`. All of this is `revocations/sync.rs`.
//! 3. The subscribers of `GET /revocations` get the id from every node's feed (`revocations/feed`).
//! 4. A node that has not read the blocklist for `revocations.max_staleness` is stale: it answers
//!    as `when_stale` says.
//!
//! # Lost responses and stolen refresh tokens
//!
//! Both look the same: an already rotated token is used again. A session's row has the generation
//! of its current token; tokens are computed from the generation, not stored.
//! [`sessions::rotation::decide`] distinguishes them:
//!
//! - Within the retry window after a rotation, the current token and its predecessor get the
//!   current token again.
//! - Later, the predecessor gets it again if the request has an `Idempotency-Key` of that rotation.
//!   Without a stored key it gets it once, unless the window is zero or this was already done for
//!   the previous generation.
//! - Any other use of an already rotated token is a reuse: the session ends, its id goes to the
//!   blocklist, and `refresh_token_reused` is recorded. Thief and owner both lose access.
//!
//! # Making a change
//!
//! - The retry window, or the meaning of a replayed token: [`sessions::rotation`]; its default and
//!   bounds: [`config`].
//! - A claim of the access token: [`tokens::Claims`], set in [`sessions::Sessions::issue`]; its
//!   rules: `crates/doorward-tokens`, which the verifier uses as well.
//! - A setting: [`config`], in `settings` (field, default, meaning) and `validate` (bounds); its
//!   conversion for a module: `app/settings.rs`.
//! - A command: a module of [`cli`], and its variant in `main/command_line.rs`. A command that
//!   needs a database is also listed in `tests/support/commands.rs`.
//! - A metric: counted in the module that knows the outcome, listed in `app/metrics.rs`, described
//!   in the table of `docs/metrics.md` (a test compares them).
//! - A message: [`mail::messages::MessageKind`] and a pair of templates in `mail/templates`,
//!   described in `docs/email.md` (a test compares them). A new purpose of requests:
//!   [`mail::MailPurpose`], its validity in [`mail::decide::decide`], and the unit of work that
//!   consumes it in [`accounts`].
//! - A reason why sessions end: [`sessions::rotation::EndReason`], its text in
//!   [`sessions::refresh::Refusal::explanation`], the list in `openapi.yaml`, and whether the
//!   session's device remains known: `sessions/queries/devices.rs`.
//! - Per-client settings: [`clients::ClientSettings`], applied by [`sessions`].
//! - Sources of credentials, and cookies: [`http::request::cookies`]; CSRF protection:
//!   `http/request/csrf.rs`.
//! - A rate limit by address or session: [`http::middleware::limits`] and the route table; login
//!   throttling by account: [`accounts::throttle`]; the numbers: [`config::LimitsConfig`]. A new
//!   limiter is created in `app/services.rs`, swept in `app/tasks.rs` and counted in
//!   `app/metrics.rs`.
//! - The effect of a signal: `app/signals.rs`; the shutdown: [`http::server`].
//! - The text of an error: [`http::problem::Code`] or, for the reason why a session ended,
//!   [`sessions::refresh::Refusal::explanation`].
//! - A security event: [`audit::EventKind`], recorded by [`audit::record`] in the unit that causes
//!   it.
//! - A column: `migrations` (both folders), [`database::schema`], the `queries.rs` of the module
//!   that owns the table, and its struct in `database/maintenance/copy/rows.rs`. A table: in
//!   addition the list in `database/maintenance/copy.rs`, the newest time in `database/time.rs` if
//!   it stores times, and its purge in `app/tasks.rs`.
//!
//! # The workspace
//!
//! This package is the server. Two libraries do not depend on it and are MIT OR Apache-2.0
//! throughout:
//!
//! - `crates/doorward-tokens`, used here as [`tokens`] and [`clock`].
//! - `crates/doorward-verifier`, for services that verify access tokens themselves: it fetches the
//!   keys, subscribes to the revocation feed, and verifies without I/O. The server does not use it;
//!   its tests do.
//!
//! A third one, `crates/doorward-swagger-ui`, has the files of the page at `/docs`.
//!
//! The server's one feature, `postgres-tls`, adds TLS to the connection to PostgreSQL.

#![warn(unreachable_pub)]

pub mod accounts;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clients;
pub mod config;
pub mod database;
pub mod factors;
pub mod http;
pub mod keys;
mod locks;
pub mod log_rate_limit;
mod loopback;
pub mod mail;
pub mod metrics;
mod named;
pub mod passwords;
pub mod refresh_token;
pub mod revocations;
pub mod secret;
pub mod sessions;

pub use doorward_tokens as tokens;
pub use doorward_tokens::clock;
