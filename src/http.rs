//! The HTTP API: the route table on one screen (`routes.rs`), the handlers ([`resources`]), the
//! parts of a request ([`request`]), the [`middleware`], and the [`server`] with its listeners, TLS
//! and shutdown.
//!
//! A request passes the middleware in [`middleware`] (id, log line, problem documents), CORS, the
//! checks for every resource and the rate limit of its resource. Its handler does four things in
//! order: extract, parse into domain types, call one method, name the status. `errors.rs` has the
//! exhaustive `match` that turns each domain error into a [`problem::Problem`].

mod admin_routes;
mod errors;
pub mod middleware;
pub mod problem;
pub mod request;
pub mod requests_in_progress;
pub mod resources;
mod routes;
pub mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use ipnet::IpNet;

use crate::accounts::Accounts;
use crate::accounts::admin::AccountAdmin;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::database::Database;
use crate::keys::Keys;
use crate::log_rate_limit::LogRateLimit;
use crate::metrics::Requests;
use crate::revocations::Revocations;
use crate::sessions::Sessions;

pub use admin_routes::admin_routes;
use middleware::limits::{AddressLimiter, FailureLimiter, KeyedLimiter};
use request::client_ip::ForwardedForWarning;
use request::cookies::CookiePolicy;
use requests_in_progress::RequestsInProgress;
use resources::feed_connections::FeedConnections;
pub use routes::routes;

/// The services that handlers call.
#[derive(Clone)]
pub struct Api {
    /// Accounts and passwords.
    pub accounts: Accounts,
    /// Account administration.
    pub account_admin: AccountAdmin,
    /// Sessions and tokens.
    pub sessions: Sessions,
    /// OAuth clients.
    pub clients: Clients,
    /// Signing keys.
    pub keys: Keys,
    /// The revocation list of this node.
    pub revocations: Revocations,
    /// Security events.
    pub audit: Audit,
    /// The database, for the readiness check.
    pub db: Database,
    /// The rate limit of refreshes per session.
    pub refresh_limit: KeyedLimiter,
    /// The rate limit of failed client authentications.
    pub client_failures: FailureLimiter,
    /// The open feed connections of each client.
    pub feed_connections: FeedConnections,
    /// `iss`, and the base of the metadata's URLs.
    pub issuer: String,
    /// Whether `/docs` is served.
    pub has_docs: bool,
    /// Whether a registration must prove its address.
    pub verifies_addresses: bool,
}

/// The rate limits by client address.
#[derive(Clone)]
pub struct Limits {
    /// For registrations and requests for mail.
    pub register: AddressLimiter,
    /// For every resource that takes a password.
    pub password: AddressLimiter,
}

/// HTTP-layer settings, available to every request as `web::Data`.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Warns about untrusted peers that send the header.
    pub forwarded_for_warning: Arc<ForwardedForWarning>,
    /// The maximum size of a request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// `Strict-Transport-Security`, when the public URL is https.
    pub hsts: Option<HeaderValue>,
    /// The attributes of cookies, and the pages that may use them.
    pub cookies: CookiePolicy,
    /// Set when the server was told to stop: it is no longer ready.
    pub is_shutting_down: Arc<AtomicBool>,
    /// Set when the server begins to stop: every response then closes its connection.
    pub is_draining: Arc<AtomicBool>,
    /// The requests that are being answered.
    pub in_progress: RequestsInProgress,
    /// Measures request durations.
    pub clock: Clock,
    /// Limits the log lines about rejected requests.
    pub refusals: Arc<LogRateLimit>,
    /// Counts requests, if metrics are enabled.
    pub requests: Option<Requests>,
}
