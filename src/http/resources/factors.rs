//! Second factors: `/login/factor`, `/me/totp`, `/me/recovery-codes` and `/me/reauthenticate`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::sessions::replaced_sessions;
use crate::accounts::{FactorAttempt, LogInError, OwnerProof};
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::request::authenticated::{Caller, EnrolmentCaller};
use crate::http::request::cookies::{Cookies, Transport};
use crate::http::request::json::Json;
use crate::http::request::requester::RequestSource;
use crate::http::request::second_factor::{SecondFactorMember, one_of};
use crate::secret::Secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LogInFactor {
    factor_token: Secret<String>,
    totp: Option<Secret<String>>,
    recovery_code: Option<Secret<String>>,
}

pub(in crate::http) async fn log_in(
    api: web::Data<Api>,
    source: RequestSource,
    cookies: Cookies,
    body: Json<LogInFactor>,
) -> Result<HttpResponse, Problem> {
    let LogInFactor { factor_token, totp, recovery_code } = body.0;
    let second_factor = one_of(totp, recovery_code, "/totp")?;
    let pointer = second_factor.kind().as_str();
    let token = api.accounts.read_factor_token(factor_token.expose())?;
    let transport = if token.with_cookies { Transport::Cookie } else { Transport::Body };
    if transport == Transport::Cookie {
        cookies.ensure_allowed()?;
    }
    let replaces = replaced_sessions(&api, &cookies, transport).await;
    let attempt = FactorAttempt { token, second_factor, replaces, device: source.device(None) };
    let tokens = api.accounts.log_in_with_factor(attempt).await;
    let tokens = tokens.map_err(|error| Problem::from_login(error, &format!("/{pointer}")))?;
    cookies.respond_with_tokens(tokens, transport)
}

/// The proof of an owner who is logged in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Proof {
    current_password: Secret<String>,
    second_factor: Option<SecondFactorMember>,
}

impl Proof {
    fn parse(self, source: &RequestSource) -> Result<OwnerProof, Problem> {
        Ok(OwnerProof {
            password: self.current_password,
            second_factor: SecondFactorMember::parse(self.second_factor)?,
            device: source.device(None),
        })
    }
}

/// For an error of a proof in these bodies.
fn refused(error: LogInError) -> Problem {
    Problem::from_reauthentication(error, "/current_password")
}

pub(in crate::http) async fn begin_totp(
    api: web::Data<Api>,
    caller: EnrolmentCaller,
    source: RequestSource,
    body: Json<Proof>,
) -> Result<HttpResponse, Problem> {
    let proof = body.0.parse(&source)?;
    let shown = api.accounts.begin_totp(caller.0, &proof).await.map_err(refused)?;
    Ok(HttpResponse::Ok().json(json!({
        "secret": *shown.secret,
        "otpauth_uri": *shown.uri,
        "qr_svg": *shown.qr_svg,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ConfirmTotp {
    code: Secret<String>,
}

pub(in crate::http) async fn confirm_totp(
    api: web::Data<Api>,
    caller: EnrolmentCaller,
    source: RequestSource,
    body: Json<ConfirmTotp>,
) -> Result<HttpResponse, Problem> {
    let code = body.0.code.expose();
    let codes = api.accounts.confirm_totp(caller.0, code, source.device(None)).await?;
    Ok(shown_codes(&codes))
}

pub(in crate::http) async fn remove_totp(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    body: Json<Proof>,
) -> Result<HttpResponse, Problem> {
    let proof = body.0.parse(&source)?;
    api.accounts.remove_totp(caller.0.into(), &proof).await.map_err(refused)?;
    Ok(HttpResponse::NoContent().finish())
}

pub(in crate::http) async fn replace_recovery_codes(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    body: Json<Proof>,
) -> Result<HttpResponse, Problem> {
    let proof = body.0.parse(&source)?;
    let codes = api.accounts.replace_recovery_codes(caller.0.into(), &proof).await;
    Ok(shown_codes(&codes.map_err(refused)?))
}

fn shown_codes(codes: &[Secret<String>]) -> HttpResponse {
    let codes: Vec<&String> = codes.iter().map(Secret::expose).collect();
    HttpResponse::Ok().json(json!({ "recovery_codes": codes }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Reauthenticate {
    password: Secret<String>,
    second_factor: Option<SecondFactorMember>,
}

pub(in crate::http) async fn reauthenticate(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    cookies: Cookies,
    body: Json<Reauthenticate>,
) -> Result<HttpResponse, Problem> {
    let transport = cookies.transport(false)?;
    let Reauthenticate { password, second_factor } = body.0;
    let second_factor = SecondFactorMember::parse(second_factor)?;
    let proof = OwnerProof { password, second_factor, device: source.device(None) };
    let token = api.accounts.reauthenticate(caller.0, &proof).await;
    let token = token.map_err(|error| Problem::from_reauthentication(error, "/password"))?;
    cookies.respond_with_access_token(token, transport)
}
