//! Public documents: keys, server metadata (RFC 8414), the description of the API.

use actix_web::http::header::{CACHE_CONTROL, CacheControl, CacheDirective, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::http::Api;
use crate::http::middleware::cors::ALLOW_ANY_ORIGIN;

/// The API description of this build.
const OPENAPI: &str = include_str!("../../../openapi.yaml");

/// Authentication methods of endpoints that public clients may use, too.
const ANY_CLIENT: [&str; 3] = ["client_secret_basic", "client_secret_post", "none"];
const CONFIDENTIAL_CLIENT: [&str; 2] = ["client_secret_basic", "client_secret_post"];

pub(in crate::http) async fn jwks(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    let jwks = api.sessions.key_set().await;
    let max_age = u32::try_from(jwks.max_age.as_secs()).unwrap_or(u32::MAX);
    let cache = CacheControl(vec![CacheDirective::Public, CacheDirective::MaxAge(max_age)]);
    let known = is_known(&request, &jwks.etag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, jwks.etag.as_str())).insert_header(cache);
    response.insert_header(ALLOW_ANY_ORIGIN);
    if known {
        return response.finish();
    }
    response.content_type("application/jwk-set+json").body(jwks.body.clone())
}

/// Whether the caller has the representation with this entity tag (RFC 9110 13.1.2).
pub(in crate::http) fn is_known(request: &HttpRequest, etag: &str) -> bool {
    request
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
}

pub(in crate::http) async fn metadata(api: web::Data<Api>) -> HttpResponse {
    let issuer = &api.issuer;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "public, max-age=3600")).insert_header(ALLOW_ANY_ORIGIN);
    response.json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        // RFC 8414 2: required, or with a default that would be wrong here.
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ANY_CLIENT,
        "introspection_endpoint_auth_methods_supported": CONFIDENTIAL_CLIENT,
        "revocation_endpoint_auth_methods_supported": ANY_CLIENT,
        "service_documentation": format!("{issuer}/openapi.yaml"),
        "doorward_revocations_endpoint": format!("{issuer}/revocations"),
    }))
}

pub(in crate::http) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=3600"))
        .insert_header(ALLOW_ANY_ORIGIN)
        .content_type("application/yaml")
        .body(OPENAPI)
}
