//! The outermost middleware: request id, access log, error format, common headers.
//!
//! On the way in it assigns the request an id; [`reject_invalid`], one layer further in, rejects
//! requests that are invalid for every resource. On the way out it turns every bare error into a
//! problem document, adds the headers that every response has, and writes one line to the log.

mod authorize_operator;
mod completed;
pub mod cors;
mod finish_response;
pub mod limits;
mod reject_invalid;

use std::mem;
use std::panic::AssertUnwindSafe;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::http::{ConnectionType, Method, Version};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, HttpResponse, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

pub use authorize_operator::authorize_operator;
pub(super) use finish_response::SECURITY_HEADERS;
pub use reject_invalid::reject_invalid;

use super::HttpSettings;
use super::problem::{Code, ErrorFormat, Problem};
use crate::database::with_database_deadline;
use crate::http::request::client_ip::ClientAddress;
use crate::http::request::traceparent::TraceParent;
use completed::Completed;
use finish_response::finish_response;

/// The header with a request's id, which is also in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Marks a HEAD request in its extensions.
pub(super) struct HeadRequest;

/// The paths with errors in an OAuth format; everywhere else errors are plain problems.
const OAUTH_ERROR_PATHS: &[(&str, ErrorFormat)] = &[
    ("/login", ErrorFormat::ProblemWithOAuth),
    ("/login/factor", ErrorFormat::ProblemWithOAuth),
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
    let in_progress = settings.in_progress.begin();
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

    let completed = Completed {
        method: &method,
        route: request.as_ref().and_then(HttpRequest::match_pattern),
        status: response.status(),
        took: settings.clock.monotonic().duration_since(started),
        client: address,
    };
    completed.record(&settings, started, &span);
    in_progress.answered();
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
