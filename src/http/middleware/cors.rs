//! CORS: pages of the origins in the settings and of public clients may call.
//!
//! A browser asks before it sends a non-standard header for a page (Fetch 3.2.2, a preflight). A
//! rejection there is an opaque network error to the page, so its response and the log name the
//! header.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::middleware::Next;
use actix_web::{Error, web};

use crate::clients::Clients;
use crate::database::StoreError;
use crate::http::HttpSettings;
use crate::http::middleware::REQUEST_ID;
use crate::http::problem::{Code, Problem};
use crate::http::request::traceparent::{TRACEPARENT, TRACESTATE};
use crate::locks;
use crate::log_rate_limit::LogRateLimit;

/// Lets any page read a public response. For a listed origin actix-cors replaces it by that origin.
pub(in crate::http) const ALLOW_ANY_ORIGIN: (HeaderName, &str) = (ACCESS_CONTROL_ALLOW_ORIGIN, "*");

/// The methods that pages may use.
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];

/// The headers that every page may send. `baggage` (W3C) is OpenTelemetry's, beside `traceparent`.
const HEADERS: [HeaderName; 6] = [
    AUTHORIZATION,
    HeaderName::from_static("baggage"),
    CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    TRACEPARENT,
    TRACESTATE,
];

/// How many rejected headers are named, and the maximum length of each and of an origin, in bytes.
const MAX_NAMED_HEADERS: usize = 5;
const MAX_NAME_BYTES: usize = 64;
const MAX_ORIGIN_BYTES: usize = 128;

/// The allowed origins and headers.
pub struct CorsPolicy {
    origins: Vec<String>,
    client_origins: ClientOrigins,
    headers: Vec<HeaderName>,
    refusals: LogRateLimit,
}

impl CorsPolicy {
    /// The policy for these origins and those of clients. The headers are those that pages may send
    /// in addition to Doorward's own.
    #[must_use]
    pub fn new(origins: Vec<String>, client_origins: ClientOrigins, headers: &[String]) -> Self {
        let more = headers.iter().filter_map(|name| name.parse().ok());
        let headers = HEADERS.into_iter().chain(more).collect();
        Self { origins, client_origins, headers, refusals: LogRateLimit::default() }
    }

    /// The middleware that answers preflights and lets pages read responses.
    pub fn middleware(&self) -> Cors {
        let client_origins = self.client_origins.clone();
        self.origins
            .iter()
            .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin))
            .allowed_origin_fn(move |origin, _| client_origins.contains(origin))
            .allowed_methods(METHODS)
            .allowed_headers(&self.headers)
            .expose_headers([RETRY_AFTER, WWW_AUTHENTICATE, REQUEST_ID])
            // Cookies; the outermost middleware removes this for the origins of registered clients.
            .supports_credentials()
            .max_age(3600)
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
            || self.client_origins.contains(origin)
    }

    /// Why a preflight is rejected, as a sentence for developers.
    fn reason(&self, request: &ServiceRequest) -> Option<String> {
        let headers = request.headers();
        let origin = headers.get(ORIGIN)?;
        if !self.allows(origin) {
            let origin = quotable(origin.as_bytes(), MAX_ORIGIN_BYTES)?;
            return Some(format!(
                "Pages of the origin {origin} may not call: list it in cors.origins, or register a \
                 client with it."
            ));
        }
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if !METHODS.iter().any(|allowed| allowed.as_bytes() == method.as_bytes()) {
            return Some(format!("Pages may only use the methods {}.", METHODS.join(", ")));
        }
        let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS);
        let asked = asked.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
        let refused: Vec<String> = asked
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !self.headers.iter().any(|it| is_name(it, name)))
            .filter_map(|name| quotable(name, MAX_NAME_BYTES))
            .take(MAX_NAMED_HEADERS)
            .collect();
        (!refused.is_empty()).then(|| {
            let refused = refused.join(", ");
            format!("Pages may not send {refused}: list it in cors.headers, or leave it out.")
        })
    }
}

fn is_name(allowed: &HeaderName, asked: &[u8]) -> bool {
    allowed.as_str().as_bytes().eq_ignore_ascii_case(asked)
}

/// Untrusted text in a printable form: visible ASCII of bounded length.
fn quotable(text: &[u8], most: usize) -> Option<String> {
    let is_plain = text.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>".contains(byte));
    let text = (is_plain && text.len() <= most).then_some(text)?;
    str::from_utf8(text).ok().map(str::to_owned)
}

/// Wrap the app with `from_fn(explain)` outside of [`CorsPolicy::middleware`], whose rejections
/// have no explanation.
///
/// # Errors
/// The error of the inner service.
pub async fn explain(
    policy: web::Data<CorsPolicy>,
    settings: web::Data<HttpSettings>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let reason = is_preflight.then(|| policy.reason(&request)).flatten();
    let answer = next.call(request).await?.map_into_boxed_body();
    let Some(reason) = reason.filter(|_| answer.status().is_client_error()) else {
        return Ok(answer);
    };
    if let Some(more) = policy.refusals.allow_line(settings.clock.monotonic()) {
        tracing::info!(event = "cors_refused", more, "{reason}");
    }
    let problem = Problem::new(Code::MalformedRequest).detail(reason);
    let vary = answer.headers().get_all("vary").cloned().collect::<Vec<_>>();
    let mut answer = answer.error_response(problem);
    for value in vary {
        answer.headers_mut().append(actix_web::http::header::VARY, value);
    }
    Ok(answer)
}

/// How often the clients' origins are reloaded.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The origins of the currently registered clients. Clones share them.
#[derive(Clone)]
pub struct ClientOrigins {
    clients: Clients,
    known: Arc<RwLock<HashSet<String>>>,
}

impl ClientOrigins {
    /// Loads them for the first time.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn load(clients: Clients) -> Result<Self, StoreError> {
        let known = Arc::new(RwLock::new(clients.origins().await?));
        Ok(Self { clients, known })
    }

    /// Reloads them periodically. While the database is unavailable they stay unchanged.
    pub async fn reload_repeatedly(&self) {
        let mut tick = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            tick.tick().await;
            if let Ok(origins) = self.clients.origins().await {
                *locks::write(&self.known) = origins;
            }
        }
    }

    /// Whether this `Origin` is one of them, byte for byte.
    #[must_use]
    pub fn contains(&self, origin: &HeaderValue) -> bool {
        let known = locks::read(&self.known);
        origin.to_str().is_ok_and(|origin| known.contains(origin))
    }
}
