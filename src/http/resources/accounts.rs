//! `/register` and `/me`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::mail;
use crate::accounts::mail_proof::MailSource;
use crate::accounts::{Account, OwnerProof};
use crate::database::Id;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::authenticated::Caller;
use crate::http::request::cookies::Cookies;
use crate::http::request::json::Json;
use crate::http::request::language::Language;
use crate::http::request::requester::RequestSource;
use crate::http::request::second_factor::SecondFactorMember;
use crate::secret::Secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Register {
    email: String,
    password: Secret<String>,
}

pub(in crate::http) async fn register(
    api: web::Data<Api>,
    source: RequestSource,
    language: Language,
    body: Json<Register>,
) -> Result<HttpResponse, Problem> {
    let Register { email, password } = &body.0;
    if api.verifies_addresses {
        let source =
            MailSource { network: source.network(), known_device: None, locale: language.0 };
        let request = api.accounts.request_registration(email, password.expose(), source).await?;
        return Ok(mail::accepted(&request));
    }
    let account = api.accounts.sign_up(email, password.expose(), source.network()).await?;
    Ok(created(account))
}

/// The response with a new account.
pub(super) fn created(account: Account) -> HttpResponse {
    let Account { id, email, created_at, .. } = account;
    HttpResponse::Created().json(json!({ "id": id, "email": email, "created_at": created_at }))
}

pub(in crate::http) async fn me(
    api: web::Data<Api>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let account = api.accounts.profile(caller.0.user).await?.ok_or(Code::TokenRevoked)?;
    Ok(HttpResponse::Ok().json(account))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ActivityQuery {
    before: Option<Id>,
    limit: Option<u32>,
}

pub(in crate::http) async fn activity(
    api: web::Data<Api>,
    caller: Caller,
    query: web::Query<ActivityQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(Problem::new(Code::MalformedRequest).detail("limit must be from 1 to 100."));
    }
    let page = api.audit.activity(caller.0.user, query.before, limit).await?;
    Ok(HttpResponse::Ok().json(page))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ChangePassword {
    current_password: Secret<String>,
    new_password: Secret<String>,
    second_factor: Option<SecondFactorMember>,
}

pub(in crate::http) async fn change_password(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    cookies: Cookies,
    body: Json<ChangePassword>,
) -> Result<HttpResponse, Problem> {
    let transport = cookies.transport(false)?;
    let ChangePassword { current_password, new_password, second_factor } = body.0;
    let proof = OwnerProof {
        password: current_password,
        second_factor: SecondFactorMember::parse(second_factor)?,
        device: source.device(None),
    };
    let tokens = api.accounts.change_password(caller.0, &proof, new_password.expose()).await?;
    cookies.respond_with_tokens(tokens, transport)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Close {
    password: Secret<String>,
    second_factor: Option<SecondFactorMember>,
}

pub(in crate::http) async fn close(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    cookies: Cookies,
    body: Json<Close>,
) -> Result<HttpResponse, Problem> {
    let transport = cookies.transport(false)?;
    let Close { password, second_factor } = body.0;
    let second_factor = SecondFactorMember::parse(second_factor)?;
    let proof = OwnerProof { password, second_factor, device: source.device(None) };
    let closed = api.accounts.close(caller.0, &proof).await;
    closed.map_err(|error| Problem::from_reauthentication(error, "/password"))?;
    cookies.clear(HttpResponse::NoContent().finish(), transport)
}
