//! `/token`, `/introspect` and `/revoke`: the standard OAuth endpoints.

use actix_web::{HttpResponse, web};

use crate::clients::RequestingClient;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::client_auth::OAuthRequest;
use crate::http::request::form::Form;
use crate::http::request::idempotency_key::IdempotencyKey;
use crate::http::request::requester::RequestSource;

/// RFC 6749 6 and 4.4. The password grant is not offered (RFC 9700 2.4).
pub(in crate::http) async fn token(
    api: web::Data<Api>,
    key: IdempotencyKey,
    source: RequestSource,
    mut request: OAuthRequest,
) -> Result<HttpResponse, Problem> {
    let grant_type = request.form.required("grant_type")?;
    match grant_type.expose().as_str() {
        "refresh_token" => refresh(&api, &key, &source, request.requester, request.form).await,
        "client_credentials" => {
            let scope = request.form.take("scope")?;
            let scope = scope.as_ref().map(|scope| scope.expose().as_str());
            let token = api.sessions.issue_to_client(request.confidential()?, scope)?;
            Ok(HttpResponse::Ok().json(token))
        }
        _ => Err(Code::UnsupportedGrantType.into()),
    }
}

async fn refresh(
    api: &Api,
    key: &IdempotencyKey,
    source: &RequestSource,
    requester: RequestingClient,
    mut form: Form,
) -> Result<HttpResponse, Problem> {
    let token = api.sessions.parse_token(form.required("refresh_token")?.expose());
    let token = token.inspect_err(|_| api.sessions.record_malformed_token())?;
    // RFC 6749 6: a refresh grants at most the original scope, and a login grants none.
    if form.take("scope")?.is_some() {
        return Err(Code::InvalidScope.into());
    }
    api.refresh_limit.check(token.session)?;
    let device = source.device(None);
    let tokens = api.sessions.refresh(token, requester, key.as_bytes(), device).await?;
    Ok(HttpResponse::Ok().json(tokens))
}

pub(in crate::http) async fn introspect(
    api: web::Data<Api>,
    mut request: OAuthRequest,
) -> Result<HttpResponse, Problem> {
    request.confidential()?;
    let token = api.sessions.read_token(request.form.required("token")?.expose()).await?;
    Ok(HttpResponse::Ok().json(api.sessions.introspect(token).await?))
}

pub(in crate::http) async fn revoke(
    api: web::Data<Api>,
    source: RequestSource,
    mut request: OAuthRequest,
) -> Result<HttpResponse, Problem> {
    let token = api.sessions.read_token(request.form.required("token")?.expose()).await?;
    if let Some(id) = token.rate_limit_key() {
        api.refresh_limit.check(id)?;
    }
    api.sessions.revoke(token, request.requester, source.network()).await?;
    Ok(HttpResponse::Ok().finish())
}
