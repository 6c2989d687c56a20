//! `/verify`: forward authentication for a gateway.
//!
//! The gateway (nginx `auth_request`, Traefik `ForwardAuth`, Caddy `forward_auth`) sends the
//! headers of the request that it received, and its method in one of [`METHOD_HEADERS`]. The access
//! token may be in `Authorization` or in a cookie. With a cookie the method matters: a request that
//! may change something must come from an allowed page, as at Doorward's own resources; and a
//! request of unknown method may change something.
//!
//! A browser sends no credentials with a CORS preflight (Fetch 3.2.2), so it could never pass. A
//! gateway whose application answers preflights uses `?preflights=pass`. It is opt-in: behind a
//! gateway that does not send the method itself, a client could claim `OPTIONS` for any request.

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
};
use actix_web::{HttpRequest, HttpResponse, web};

use serde::Deserialize;

use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::cookies::Cookies;
use crate::tokens::Claims;

/// The headers in which gateways send the method of the original request: nginx by the documented
/// line, Traefik and Caddy by default.
const METHOD_HEADERS: [&str; 2] = ["x-original-method", "x-forwarded-method"];

const USER: HeaderName = HeaderName::from_static("x-auth-user");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const CLIENT: HeaderName = HeaderName::from_static("x-auth-client");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");

/// Unknown parameters are rejected: a misspelt `max_age` must not pass a token that is too old.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct VerifyQuery {
    preflights: Option<Preflights>,
    /// How long ago the user may have been authenticated, in seconds (RFC 9470).
    max_age: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preflights {
    /// It passes, without an identity.
    Pass,
}

pub(in crate::http) async fn verify(
    api: web::Data<Api>,
    request: HttpRequest,
    cookies: Cookies,
    question: web::Query<VerifyQuery>,
) -> Result<HttpResponse, Problem> {
    if matches!(question.preflights, Some(Preflights::Pass)) && is_preflight(&request) {
        // Set to empty, because some gateways would otherwise pass a client's own headers on.
        return with_headers([USER, SESSION, CLIENT, SCOPE, ROLES].map(|name| (name, "".into())));
    }
    let token = cookies.access_token(is_safe_method(&request))?;
    let claims = api.sessions.verify_access_token(token.as_str()).await?;
    if let Some(max_age) = question.max_age {
        api.sessions.ensure_recent(&claims, max_age.into()).map_err(|_| {
            Problem::new(Code::InsufficientUserAuthentication).max_age(max_age.into())
        })?;
    }
    with_headers(described(&claims))
}

fn with_headers(headers: [(HeaderName, Cow<'_, str>); 5]) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok().finish();
    for (name, text) in headers {
        // Without one of its headers the identity would be incomplete.
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Code::InternalError)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Whether the original request is a CORS preflight (Fetch 3.2.2).
fn is_preflight(request: &HttpRequest) -> bool {
    let headers = request.headers();
    every_method(request, |method| method == Method::OPTIONS)
        && [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD].iter().all(|name| headers.contains_key(name))
}

/// Whether the original request changes nothing: a WebSocket is opened by a GET.
fn is_safe_method(request: &HttpRequest) -> bool {
    every_method(request, |method| method.is_safe())
        && !request.headers().contains_key(SEC_WEBSOCKET_KEY)
}

/// Whether a method is given and every given one satisfies this. Both headers may be present, one
/// of them forged by a client.
fn every_method(request: &HttpRequest, holds: impl Fn(Method) -> bool) -> bool {
    let headers = request.headers();
    let mut methods = METHOD_HEADERS.iter().flat_map(|name| headers.get_all(*name)).peekable();
    methods.peek().is_some()
        && methods.all(|method| Method::from_bytes(method.as_bytes()).is_ok_and(&holds))
}

/// All five, also empty ones: a gateway that copies only present headers would pass a client's own
/// on. A client's own token has no user: a service could mistake its id for an account.
fn described(claims: &Claims) -> [(HeaderName, Cow<'_, str>); 5] {
    let Claims { sub, sid, client_id, scope, roles, .. } = claims;
    [
        (USER, sid.map(|_| sub.to_string()).unwrap_or_default().into()),
        (SESSION, sid.map(|sid| sid.to_string()).unwrap_or_default().into()),
        (CLIENT, client_id.into()),
        (SCOPE, scope.as_deref().unwrap_or_default().into()),
        (ROLES, roles.join(" ").into()),
    ]
}
