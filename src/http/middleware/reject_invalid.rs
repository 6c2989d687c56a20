//! Rejects requests that are invalid for every resource.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;

use crate::http::problem::{Code, Problem};

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
