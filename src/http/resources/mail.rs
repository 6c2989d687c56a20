//! Operations that a mailbox proves: `/register/confirm`, `/password/forgot`, `/password/reset`,
//! `/me/email` and `/me/email/confirm`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::accounts::created;
use super::sessions::{check_label, replaced_sessions};
use crate::accounts::OwnerProof;
use crate::accounts::mail_proof::{MailSource, ShownProof};
use crate::accounts::reset_password::{Reset, ResetLogin};
use crate::clients;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::authenticated::Caller;
use crate::http::request::cookies::{Cookies, Transport};
use crate::http::request::json::Json;
use crate::http::request::language::Language;
use crate::http::request::requester::RequestSource;
use crate::http::request::second_factor::SecondFactorMember;
use crate::secret::Secret;

/// The answer to every request for a message.
pub(super) fn accepted(request: &str) -> HttpResponse {
    HttpResponse::Accepted().json(json!({ "request": request }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Confirm {
    request: Secret<String>,
    code: Secret<String>,
}

pub(in crate::http) async fn confirm_registration(
    api: web::Data<Api>,
    source: RequestSource,
    body: Json<Confirm>,
) -> Result<HttpResponse, Problem> {
    let (request, code) = (body.0.request.expose(), body.0.code.expose());
    let account = api.accounts.confirm_registration(request, code, source.network()).await?;
    Ok(created(account))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Forgot {
    email: String,
    known_device: Option<Secret<String>>,
}

pub(in crate::http) async fn forgot_password(
    api: web::Data<Api>,
    source: RequestSource,
    language: Language,
    body: Json<Forgot>,
) -> Result<HttpResponse, Problem> {
    let Forgot { email, known_device } = body.0;
    // A malformed one proves nothing, and is not a reason to reject the request.
    let known_device = known_device.and_then(|token| api.sessions.parse_token(token.expose()).ok());
    let source = MailSource { network: source.network(), known_device, locale: language.0 };
    Ok(accepted(&api.accounts.forgot_password(&email, source).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ResetPassword {
    token: Option<Secret<String>>,
    request: Option<Secret<String>>,
    code: Option<Secret<String>>,
    password: Secret<String>,
    client_id: Option<String>,
    label: Option<String>,
    #[serde(default)]
    transport: Transport,
}

pub(in crate::http) async fn reset_password(
    api: web::Data<Api>,
    source: RequestSource,
    cookies: Cookies,
    body: Json<ResetPassword>,
) -> Result<HttpResponse, Problem> {
    let ResetPassword { token, request, code, password, client_id, label, transport } = body.0;
    let shown = match (&token, &request, &code) {
        (Some(token), None, None) => ShownProof::Link(token.expose()),
        (None, Some(request), Some(code)) => {
            ShownProof::Code { request: request.expose(), code: code.expose() }
        }
        _ => {
            let rule = "Send the token of the link alone, or request and code together.";
            return Err(Problem::new(Code::MalformedRequest).detail(rule).field("/token", rule));
        }
    };
    if transport == Transport::Cookie {
        cookies.ensure_allowed()?;
    }
    let replaces = replaced_sessions(&api, &cookies, transport).await;
    let client_id = client_id.unwrap_or_else(|| clients::BUILT_IN.to_owned());
    let reset = Reset {
        shown,
        password: password.expose(),
        login: Some(ResetLogin {
            client_id,
            replaces,
            with_cookies: transport == Transport::Cookie,
        }),
        device: source.device(label.map(check_label).transpose()?),
    };
    let tokens = api.accounts.reset_password(reset).await?.ok_or(Code::InternalError)?;
    cookies.respond_with_tokens(tokens, transport)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ChangeEmail {
    email: String,
    current_password: Secret<String>,
    second_factor: Option<SecondFactorMember>,
}

pub(in crate::http) async fn change_email(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    language: Language,
    body: Json<ChangeEmail>,
) -> Result<HttpResponse, Problem> {
    let ChangeEmail { email, current_password, second_factor } = body.0;
    let proof = OwnerProof {
        password: current_password,
        second_factor: SecondFactorMember::parse(second_factor)?,
        device: source.device(None),
    };
    let requested = api.accounts.request_email_change(caller.0, &email, &proof, language.0);
    Ok(accepted(&requested.await?))
}

pub(in crate::http) async fn confirm_email(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    body: Json<Confirm>,
) -> Result<HttpResponse, Problem> {
    let (request, code) = (body.0.request.expose(), body.0.code.expose());
    api.accounts.confirm_email(caller.0, request, code, source.network()).await?;
    Ok(HttpResponse::NoContent().finish())
}
