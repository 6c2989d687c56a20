//! The HTTP surface: the route table on one screen (`routes.rs`), the handlers ([`resources`]), the
//! parts of a request ([`request`]), the [`middleware`], and the [`server`] with its listeners, TLS and
//! shutdown.
//!
//! A request passes the [`middleware`] (id, log line, problem documents), CORS, the refusals that
//! concern every resource, the address limit of its resource, and arrives at a handler, which does
//! four things in order: extract, parse into the domain's types, call one method, name the status.
//! `errors.rs` has the one `match` that turns each of the domain's errors into a
//! [`problem::Problem`].

mod errors;
pub mod middleware;
pub mod problem;
pub mod request;
pub mod requests_under_way;
pub mod resources;
mod routes;
pub mod server;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use ipnet::IpNet;

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::database::Database;
use crate::keys::Keys;
use crate::log_rate_limit::LogRateLimit;
use crate::metrics::Requests;
use crate::revocations::Revocations;
use crate::sessions::Sessions;

use middleware::limits::{AddressLimiter, FailureLimiter, KeyedLimiter};
use request::client_ip::ForwardedForWarning;
use request::cookies::CookiePolicy;
use requests_under_way::RequestsUnderWay;
use resources::feed_connections::FeedConnections;
pub use routes::routes;

/// What the handlers call.
#[derive(Clone)]
pub struct Api {
    /// Accounts and passwords.
    pub accounts: Accounts,
    /// Sessions and tokens.
    pub sessions: Sessions,
    /// Clients.
    pub clients: Clients,
    /// Signing keys.
    pub keys: Keys,
    /// The blocklist.
    pub revocations: Revocations,
    /// Security events.
    pub audit: Audit,
    /// The store, for the readiness check.
    pub db: Database,
    /// The refreshes of each session.
    pub refresh_limit: KeyedLimiter,
    /// The failed authentications of clients.
    pub client_failures: FailureLimiter,
    /// The feeds of each client.
    pub feed_connections: FeedConnections,
    /// `iss`, and what the metadata's URLs begin with.
    pub issuer: String,
}

/// The limits by client address.
#[derive(Clone)]
pub struct Limits {
    /// Making accounts.
    pub register: AddressLimiter,
    /// Every door that takes a password.
    pub password: AddressLimiter,
}

/// What the plumbing needs to know; handed to every request as `web::Data`.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Warns of others who send one.
    pub forwarded_for_warning: Arc<ForwardedForWarning>,
    /// The most bytes that a request's body may have.
    pub max_body_bytes: usize,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// `Strict-Transport-Security`, when the public URL is https.
    pub hsts: Option<HeaderValue>,
    /// How cookies are set, and whose pages may use them.
    pub cookies: CookiePolicy,
    /// Set when the server was told to stop: it is not ready for more.
    pub is_shutting_down: Arc<AtomicBool>,
    /// Set when the server is about to stop: every answer then closes its connection.
    pub is_draining: Arc<AtomicBool>,
    /// The requests that are being answered.
    pub under_way: RequestsUnderWay,
    /// Measures how long requests take.
    pub clock: Clock,
    /// Lets a bounded number of lines about refused requests into the log.
    pub refusals: Arc<LogRateLimit>,
    /// Where they are counted, when somebody wants to know.
    pub requests: Option<Requests>,
}
