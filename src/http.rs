//! The HTTP surface: the route table on one screen, and what stands around it.
//!
//! A request passes the [`middleware`] (id, log line, problem documents), CORS, the refusals that
//! concern every resource, the address limit of its resource, and arrives at a handler, which does
//! four things in order: extract, parse into the domain's types, call one method, name the status.
//! `errors.rs` has the one `match` that turns each of the domain's errors into a
//! [`problem::Problem`].

mod accounts;
mod authenticated;
mod body_buffer;
pub mod client_auth;
pub mod client_ip;
pub mod cookies;
pub mod cors;
pub mod credentials;
mod csrf;
mod deferred;
mod errors;
pub mod feed_connections;
mod first_head;
mod form;
mod health;
pub mod idempotency_key;
pub mod json;
pub mod limits;
pub mod log_rate_limit;
mod metadata;
pub mod middleware;
mod oauth;
pub mod problem;
mod raw_errors;
pub mod redirect;
mod requester;
mod revocation_feed;
pub mod server;
mod sessions;
mod shutdown_connections;
pub mod tls;
pub mod traceparent;
pub mod user_agent;
mod verify;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use actix_web::{HttpResponse, web};
use ipnet::IpNet;

use crate::accounts::Accounts;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::database::Database;
use crate::keys::Keys;
use crate::metrics::Requests;
use crate::revocations::Revocations;
use crate::sessions::Sessions;

use client_ip::ForwardedForWarning;
use cookies::CookiePolicy;
use deferred::deferred;
use feed_connections::FeedConnections;
use limits::{AddressLimiter, FailureLimiter, SessionLimiter};
use log_rate_limit::LogRateLimit;
use problem::{Code, Problem};

/// The API, all of it. `openapi.yaml` describes the same operations, and a test compares the two.
pub fn routes(config: &mut web::ServiceConfig, limits: &Limits) {
    config
        .service(
            web::resource("/register")
                .wrap(limits.register.middleware())
                .post(deferred(accounts::register)),
        )
        .service(
            web::resource("/login")
                .wrap(limits.password.middleware())
                .post(deferred(sessions::log_in)),
        )
        .service(web::resource("/refresh").post(deferred(sessions::refresh)))
        .service(web::resource("/logout").post(deferred(sessions::log_out)))
        .service(web::resource("/me").get(accounts::me))
        .service(web::resource("/me/activity").get(accounts::activity))
        .service(
            web::resource("/me/password")
                .wrap(limits.password.middleware())
                .post(deferred(accounts::change_password)),
        )
        .service(
            web::resource("/me/close")
                .wrap(limits.password.middleware())
                .post(deferred(accounts::close)),
        )
        .service(web::resource("/sessions").get(sessions::list))
        .service(web::resource("/verify").get(verify::verify))
        .service(web::resource("/revocations").get(revocation_feed::revocations))
        .service(web::resource("/token").post(deferred(oauth::token)))
        .service(web::resource("/introspect").post(deferred(oauth::introspect)))
        .service(web::resource("/revoke").post(deferred(oauth::revoke)))
        .service(web::resource("/.well-known/jwks.json").get(metadata::jwks))
        .service(web::resource("/.well-known/oauth-authorization-server").get(metadata::metadata))
        .service(web::resource("/openapi.yaml").get(metadata::openapi))
        .service(web::resource("/healthz").get(health::healthz))
        .service(web::resource("/readyz").get(health::readyz))
        // Last: the router asks one after the other, and this one by a regular expression.
        .service(web::resource("/sessions/{id}").delete(sessions::end))
        .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Code::NotFound.into())
}

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
    pub refresh_limit: SessionLimiter,
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
    /// Measures how long requests take.
    pub clock: Clock,
    /// Lets a bounded number of lines about refused requests into the log.
    pub refusals: Arc<LogRateLimit>,
    /// Where they are counted, when somebody wants to know.
    pub requests: Option<Requests>,
}
