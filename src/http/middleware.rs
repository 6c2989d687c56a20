//! The outermost middleware: request id, access log, error format, common headers.
//!
//! On the way in it assigns the request an id; [`reject_invalid`], one layer further in, rejects
//! requests that are invalid for every resource. On the way out it turns every bare error into a
//! problem document, adds the headers that every response has, and writes one line to the log.

pub mod cors;
pub mod limits;

use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL,
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, PRAGMA, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::HttpSettings;
use super::problem::{Code, ErrorFormat, Problem};
use crate::database::with_database_deadline;
use crate::http::request::client_ip::ClientAddress;
use crate::http::request::traceparent::TraceParent;

/// The header with a request's id, which is also in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The maximum length of path and query, in bytes.
const MAX_URI: usize = 8 * 1024;

/// The maximum total size of the header fields, in bytes.
const MAX_HEADERS: usize = 32 * 1024;

/// Query parameters that a token might be sent in.
const TOKEN_PARAMETERS: &[&str] = &[
    "access_token",
    "authorization",
    "bearer_token",
    "client_assertion",
    "client_secret",
    "id_token",
    "jwt",
    "known_device",
    "password",
    "refresh_token",
    "token",
];

/// Security headers of every response (OWASP ASVS 3.4): it is data, not a page.
pub(super) const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Marks a HEAD request in its extensions.
pub(super) struct HeadRequest;

/// The paths with errors in an OAuth format; everywhere else errors are plain problems.
const OAUTH_ERROR_PATHS: &[(&str, ErrorFormat)] = &[
    ("/login", ErrorFormat::ProblemWithOAuth),
    ("/refresh", ErrorFormat::ProblemWithOAuth),
    ("/token", ErrorFormat::OAuth),
    ("/introspect", ErrorFormat::OAuth),
    ("/revoke", ErrorFormat::OAuth),
];

/// Wrap the app with `from_fn(handle_request)`, last, so that it is outermost.
///
/// # Errors
/// An error that already contains its final response, when a middleware failed or a handler
/// panicked: the request is consumed by then.
pub async fn handle_request(
    settings: web::Data<HttpSettings>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let started = settings.clock.monotonic();
    let under_way = settings.under_way.begin();
    let id = Uuid::new_v4().to_string();
    let (method, version) = (request.method().clone(), request.version());
    let known = OAUTH_ERROR_PATHS.iter().find(|(path, _)| *path == request.path());
    let form = known.map_or(ErrorFormat::Problem, |(_, form)| *form);
    let address = ClientAddress::of(request.request(), &settings.trusted_proxies);
    let trace = TraceParent::of(request.headers());
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        trace_id = trace.map(|it| display(it.trace_id)),
        parent_id = trace.map(|it| display(it.parent_id)),
    );
    settings.forwarded_for_warning.check(request.request(), &settings.trusted_proxies, started);

    if method == Method::HEAD {
        // RFC 9110 9.3.2: handled as GET; the body is omitted when the response is written.
        request.head_mut().method = Method::GET;
        request.extensions_mut().insert(HeadRequest);
    }
    if !matches!(request.parts_mut().1, Payload::None) {
        // The rest of the request may take long to arrive.
        fit(request.head_mut().headers_mut());
    }
    let outcome = with_database_deadline(catch_panic(request, next)).instrument(span.clone()).await;
    let (request, response) = match outcome {
        Ok(answer) => {
            let (request, response) = answer.into_parts();
            (Some(request), response)
        }
        Err(error) => (None, HttpResponse::from_error(error)),
    };
    let mut response = finish_response(response, &id, form, &settings);
    if version < Version::HTTP_11 {
        // RFC 9112 6.1: no chunks for HTTP/1.0, so the end of the connection ends the response.
        response.head_mut().no_chunking(true);
        response.head_mut().set_connection_type(ConnectionType::Close);
    }

    let pattern = request.as_ref().and_then(HttpRequest::match_pattern);
    let took = settings.clock.monotonic().duration_since(started);
    if let Some(requests) = &settings.requests {
        let status = response.status().as_u16();
        requests.record(pattern.as_deref(), method.as_str(), status, took);
    }
    // A flood must not fill the log: requests rejected by a limiter are counted, and some of them
    // are logged.
    let is_refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let allowed = if is_refused { settings.refusals.allow_line(started) } else { Some(0) };
    let line = |left_out: u64| {
        tracing::info!(
            %method,
            // Never the path or the query themselves: they may contain secrets.
            route = pattern.as_deref().unwrap_or("-"),
            status = response.status().as_u16(),
            // JSON's writer turns wider integers into text.
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            client = %address,
            left_out = (left_out > 0).then_some(left_out),
            "request completed",
        );
    };
    if let Some(left_out) = allowed {
        span.in_scope(|| line(left_out));
    }
    under_way.answered();
    match request {
        Some(request) => Ok(ServiceResponse::new(request, response)),
        None => Err(InternalError::from_response("refused", response).into()),
    }
}

/// Moves the header fields of a request to a map of the right size: actix reserves 6.5 KiB for
/// them.
fn fit(headers: &mut HeaderMap) {
    let mut fitting = HeaderMap::with_capacity(headers.len_keys());
    for (name, value) in mem::take(headers) {
        fitting.append(name, value);
    }
    *headers = fitting;
}

/// Passes the request on. A panic inside fails only its own request: without this, actix drops the
/// connection without a response.
async fn catch_panic(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let inside = AssertUnwindSafe(async move { next.call(request).await }).catch_unwind().await;
    if let Ok(outcome) = inside {
        return outcome.map(ServiceResponse::map_into_boxed_body);
    }
    tracing::error!("a handler panicked");
    Err(Problem::new(Code::InternalError).into())
}

/// Wrap the app with `from_fn(reject_invalid)` inside CORS, so that a page of a listed origin can
/// read why it was rejected.
///
/// # Errors
/// The error of the inner service.
pub async fn reject_invalid(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    match rejection(&request) {
        Some(problem) => Ok(request.error_response(problem)),
        None => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
    }
}

fn rejection(request: &ServiceRequest) -> Option<Problem> {
    let uri = request.uri();
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let code = if uri.path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI) {
        Code::UriTooLong
    } else if bytes > MAX_HEADERS {
        Code::HeadersTooLarge
    } else if headers.get_all(AUTHORIZATION).count() > 1 {
        Code::MultipleCredentials
    } else if uri.query().is_some_and(names_a_token) {
        Code::TokenInQuery
    } else {
        return None;
    };
    Some(code.into())
}

fn names_a_token(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| {
        TOKEN_PARAMETERS.iter().any(|token| name.trim().eq_ignore_ascii_case(token))
    })
}

/// Adds the headers of every response and formats errors.
fn finish_response(
    response: HttpResponse,
    id: &str,
    form: ErrorFormat,
    settings: &HttpSettings,
) -> HttpResponse {
    let status = response.status();
    let mut response = if status.is_client_error() || status.is_server_error() {
        to_problem(response, id, form)
    } else {
        response
    };
    // After these the caller may still be sending.
    let is_unread = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE);
    if is_unread || settings.is_draining.load(Ordering::Relaxed) {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(hsts) = &settings.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    let origin = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(HeaderValue::as_bytes);
    if !origin.is_some_and(|origin| settings.cookies.allows_origin(origin)) {
        // actix-cors sends it to every allowed origin; cookies are for the pages of the configured
        // ones, and not for those of a client's registration.
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if form == ErrorFormat::OAuth {
        // RFC 6749 5.1 requires both.
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Rewrites an error with the id of its request, and keeps the headers that were set on it.
fn to_problem(response: HttpResponse, id: &str, form: ErrorFormat) -> HttpResponse {
    let known = response.extensions().get::<Problem>().cloned();
    if known.is_none() && is_document(&response) {
        return response;
    }
    // It was first written as a problem, with a challenge that this format may not have.
    let challenged_anew = known.is_some();
    let problem = known.unwrap_or_else(|| {
        if let Some(error) = response.error()
            && response.status().is_server_error()
        {
            tracing::error!(%error, "failed");
        }
        Code::for_status(response.status()).into()
    });
    let mut written = problem.response(Some(id), form);
    for name in response.headers().keys() {
        let of_the_old_body =
            [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING].contains(name);
        let of_the_old_form = challenged_anew && name == WWW_AUTHENTICATE;
        if of_the_old_body || of_the_old_form || written.headers().contains_key(name) {
            continue;
        }
        for value in response.headers().get_all(name) {
            written.headers_mut().append(name.clone(), value.clone());
        }
    }
    written
}

/// Whether a handler wrote the error's body itself.
fn is_document(response: &HttpResponse) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|it| it.starts_with(b"application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_detected_in_every_encoding() {
        for query in
            ["token=x", "a=b&access_token=x", "Refresh%5Ftoken=x", "acc%65ss_token", "+token=1"]
        {
            assert!(names_a_token(query), "{query}");
        }
        for query in ["", "scope=this", "tokens=1", "q=access_token"] {
            assert!(!names_a_token(query), "{query}");
        }
    }
}
