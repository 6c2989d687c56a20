//! The headers of every response, and the format of errors.

use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, StatusCode};

use super::REQUEST_ID;
use crate::http::HttpSettings;
use crate::http::problem::{Code, ErrorFormat, Problem};

/// Security headers of every response (OWASP ASVS 3.4): responses are data, not pages.
pub(in crate::http) const SECURITY_HEADERS: [(HeaderName, &str); 3] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
];

/// Adds the headers of every response and formats errors.
pub(super) fn finish_response(
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
        // An HTML page has a policy of its own.
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
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
