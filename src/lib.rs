//! Doorward is a self-hosted login service. It checks a password against an Argon2 hash, hands out
//! a short-lived access token (a signed JWT) and a rotating refresh token, and can take both back
//! at once.
//!
//! This page is the map. It says what each module is for, who may call whom, and follows one
//! request from the socket to the disk and back.
//!
//! # The house
//!
//! ```text
//! main ──► cli, app ──► http ──► accounts ──► sessions ──► keys, revocations ──► database ──► clock
//!           │                   │            │              │  audit                       ▲
//!           ▼                   ▼            ▼              ▼                              │
//!         config            passwords refresh_token         tokens ────────────────────────┘
//!                                      clients
//! ```
//!
//! Calls go to the right and down, never back; `tests/shape.rs` reads the `use` lines and checks
//! it. Beside the arrows, everything may use `clock`, `locks`, `log_rate_limit`, `metrics`, `named`
//! and `secret`.
//!
//! - [`config`]: every setting, once: its default, its bounds, its meaning. Only `main` and [`app`]
//!   read it; what goes further down are small structs such as [`sessions::SessionPolicy`].
//! - [`cli`]: one module for each command.
//! - [`app`]: puts the parts together, starts them, runs the background tasks, stops without losing
//!   a request.
//! - [`http`]: the route table on one screen (`http/routes.rs`), the middleware that every request
//!   passes, short handlers by resource (`http/resources`), the parts of a request that they take
//!   (`http/request`), listeners and TLS (`http/server`), and the one place where an error of the
//!   domain becomes a status and a text (`http/errors.rs`, with the texts in [`http::problem`]).
//! - [`accounts`]: sign up, log in, change the password, close; the budget of failed logins.
//! - [`sessions`]: start, refresh, list, end. The rule of refresh tokens is one pure function,
//!   [`sessions::rotation::decide`].
//! - [`clients`]: the apps and services that tokens are issued to, their secrets and settings.
//! - [`passwords`]: what a password must be, and the bounded pool of threads that hash.
//! - [`tokens`]: access tokens: claims, signing, strict verification, the cache of verified ones.
//!   Only here is `jsonwebtoken`. A crate of its own.
//! - [`refresh_token`]: the bytes of a refresh token: no I/O.
//! - [`keys`]: signing keys and their life: next, active, retired, removed.
//! - [`revocations`]: the blocklist, in the database and, for every check, in memory.
//! - [`audit`]: the trail of security events: logged, stored in the unit of work that brings them
//!   about, and listed.
//! - [`database`]: two calls, `read` and `write`, each a unit of work. SQLite has one writer thread
//!   that commits in groups; PostgreSQL has a pool. Beside them what `doorward db` needs: migrations,
//!   the search for drift, copies and backups ([`cli::db`] is the command line's way
//!   there).
//! - [`secret`]: randomness, key derivation, comparison in constant time, text that `Debug` hides.
//! - [`metrics`]: metrics that several parts count. Each part keeps its own; `app/metrics.rs` lists
//!   them all. `named`: enums whose values have stable names.
//! - [`log_rate_limit`]: log lines at a bounded rate.
//! - [`clock`]: the only source of time, so that tests can move it.
//!
//! # One request: `POST /refresh`
//!
//! 1. The [`http::middleware`] gives the request an id and opens a span for its log lines.
//! 2. The handler in `http/resources/sessions.rs` reads the body (bounded in size, depth and time),
//!    and [`refresh_token::TagKeys::decode`] checks the token's tag: a forgery ends here, before any
//!    I/O. The session's rate limit comes next.
//! 3. [`sessions::Sessions::refresh`] hands a closure to [`database::Database::write`]. The writer
//!    thread puts it into a group with whatever else waits, and runs it in its own savepoint: it
//!    reads the session's row, asks [`sessions::rotation::decide`], and stores the step by one
//!    compare-and-set `UPDATE`.
//! 4. The group commits: one fsync. Only now do answers leave. Had the session been ended by a
//!    reuse, the hook that [`revocations::Revocations::revoke`] left on the unit would put its id
//!    into the in-memory list, between the commit and the answer.
//! 5. The access token is signed with the active key ([`keys::Keys::signing`]); its times are those
//!    that the unit read.
//! 6. On the way out the door adds the headers that every answer has. A refusal would have been a
//!    value of the unit, turned into a problem document by `http/errors.rs`.
//!
//! # Where a change goes
//!
//! - The retry window, or what a replayed token means: [`sessions::rotation`]; its default and
//!   bounds: [`config`].
//! - A claim of the access token: [`tokens::Claims`], filled in [`sessions::Sessions::issue`].
//! - What a client may have of its own: [`clients::ClientSettings`], heeded by [`sessions`].
//! - Where credentials come from, and cookies: [`http::request::cookies`]; which pages may use them:
//!   `http/request/csrf.rs`.
//! - A limit by address or session: [`http::middleware::limits`] and the route table; by account:
//!   [`accounts::throttle`]; the numbers: [`config::LimitsConfig`].
//! - What a signal does: `app/signals.rs`; how the service stops: [`http::server`].
//! - The text of an error: [`http::problem::Code`], or, for the reason why a session ended,
//!   [`sessions::refresh::Refusal::explanation`].
//! - A security event: [`audit::EventKind`], recorded by [`audit::record`] where it happens.
//! - A column: `migrations` (both folders), [`database::schema`], and the `queries.rs` of the
//!   module that owns the table. A table: also the list in `database/maintenance/copy/rows.rs`.
//!
//! # The workspace
//!
//! This package is the server. Two crates stand beside it, MIT OR Apache-2.0 without exception, and
//! know nothing of it:
//!
//! - `crates/doorward-tokens`, used here as [`tokens`] and [`clock`].
//! - `crates/doorward-verifier`, for services that verify access tokens by themselves: it fetches the
//!   keys, subscribes to the revocations, and answers without I/O. The server does not use it; its
//!   tests do.
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
pub mod http;
pub mod keys;
mod locks;
pub mod log_rate_limit;
pub mod metrics;
mod named;
pub mod passwords;
pub mod refresh_token;
pub mod revocations;
pub mod secret;
pub mod sessions;

pub use doorward_tokens as tokens;
pub use doorward_tokens::clock;
