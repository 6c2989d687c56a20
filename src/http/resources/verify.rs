//! `/verify`: a gateway asks whether it may let a request pass, and whose it is.
//!
//! The gateway (nginx `auth_request`, Traefik `ForwardAuth`, Caddy `forward_auth`) sends the headers
//! of the request that it holds, and its method in [`METHOD_HEADERS`]. An access token may be a
//! bearer's or a cookie's. With a cookie the method counts: what may change something must come
//! from a page that may, as at Doorward's own resources; and a request whose method is not told may
//! change something.
//!
//! A browser sends no credentials with a CORS preflight (Fetch 3.2.2), so it could never pass. A
//! gateway that answers preflights by its application asks with `?preflights=pass`. It must be asked
//! for: in front of a gateway that does not tell the method itself, a client could say `OPTIONS` of
//! any request.

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

/// Where gateways put the method of the request that they hold: nginx by the README's line,
/// Traefik and Caddy by themselves.
const METHOD_HEADERS: [&str; 2] = ["x-original-method", "x-forwarded-method"];

const USER: HeaderName = HeaderName::from_static("x-auth-user");
const SESSION: HeaderName = HeaderName::from_static("x-auth-session");
const CLIENT: HeaderName = HeaderName::from_static("x-auth-client");
const SCOPE: HeaderName = HeaderName::from_static("x-auth-scope");
const ROLES: HeaderName = HeaderName::from_static("x-auth-roles");

#[derive(Deserialize)]
pub(in crate::http) struct Question {
    preflights: Option<Preflights>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preflights {
    /// They pass, without an identity.
    Pass,
}

pub(in crate::http) async fn verify(
    api: web::Data<Api>,
    request: HttpRequest,
    cookies: Cookies,
    question: web::Query<Question>,
) -> Result<HttpResponse, Problem> {
    if matches!(question.preflights, Some(Preflights::Pass)) && is_preflight(&request) {
        // Empty, or a client's own would pass through some gateways.
        return with_headers([USER, SESSION, CLIENT, SCOPE, ROLES].map(|name| (name, "".into())));
    }
    let token = cookies.access_token(is_safe_method(&request))?;
    let claims = api.sessions.verify_access_token(token.as_str()).await?;
    with_headers(described(&claims))
}

fn with_headers(headers: [(HeaderName, Cow<'_, str>); 5]) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok().finish();
    for (name, text) in headers {
        // An identity with a part left out would be another one.
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Code::InternalError)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Whether the request that the gateway holds is a CORS preflight (Fetch 3.2.2).
fn is_preflight(request: &HttpRequest) -> bool {
    let headers = request.headers();
    every_method(request, |method| method == Method::OPTIONS)
        && [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD].iter().all(|name| headers.contains_key(name))
}

/// Whether the request that the gateway holds changes nothing: a WebSocket is opened by a GET.
fn is_safe_method(request: &HttpRequest) -> bool {
    every_method(request, |method| method.is_safe())
        && !request.headers().contains_key(SEC_WEBSOCKET_KEY)
}

/// Whether there is a method, and this holds for it. Both headers may be there, one of them a
/// client's invention.
fn every_method(request: &HttpRequest, holds: impl Fn(Method) -> bool) -> bool {
    let headers = request.headers();
    let mut methods = METHOD_HEADERS.iter().flat_map(|name| headers.get_all(*name)).peekable();
    methods.peek().is_some()
        && methods.all(|method| Method::from_bytes(method.as_bytes()).is_ok_and(&holds))
}

/// All five, also those that say nothing: a gateway that copies only what is there would let the
/// client's own pass. A client's own token has no user: whoever read its id as one would mistake it
/// for an account.
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
