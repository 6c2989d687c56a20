//! `/login`, `/refresh`, `/logout` and `/sessions`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::bearer::{Caller, MaybeCaller};
use super::body::{Json, OptionalJson};
use super::caller::IdempotencyKey;
use super::origin::Origin;
use super::problem::{Code, Problem};
use crate::accounts::Attempt;
use crate::clients::{self, Requester};
use crate::secret::Secret;
use crate::sessions::Scope;

/// The longest label of a session, in characters.
const LABEL_CHARS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogIn {
    email: String,
    password: Secret<String>,
    client_id: Option<String>,
    label: Option<String>,
    known_device: Option<Secret<String>>,
}

pub(super) async fn log_in(
    api: web::Data<Api>,
    origin: Origin,
    body: Json<LogIn>,
) -> Result<HttpResponse, Problem> {
    let LogIn { email, password, client_id, label, known_device } = body.0;
    let attempt = Attempt {
        email: &email,
        password: password.expose(),
        client_id: client_id.as_deref().unwrap_or(clients::BUILT_IN),
        // One that cannot be read proves nothing, and is no reason to refuse a password.
        known_device: known_device.and_then(|token| api.sessions.parse_token(token.expose()).ok()),
        network: origin.network(),
        device: origin.device(label.map(check_label).transpose()?),
    };
    let tokens = api.accounts.log_in(attempt).await?;
    Ok(HttpResponse::Ok().json(tokens))
}

fn check_label(label: String) -> Result<String, Problem> {
    if label.chars().count() > LABEL_CHARS || label.chars().any(char::is_control) {
        let rule = "Give a label of at most 100 characters, without control characters.";
        return Err(Problem::new(Code::InvalidFields).detail(rule).field("/label", rule));
    }
    Ok(label)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    refresh_token: Secret<String>,
    client_id: Option<String>,
}

pub(super) async fn refresh(
    api: web::Data<Api>,
    key: IdempotencyKey,
    origin: Origin,
    body: Json<Refresh>,
) -> Result<HttpResponse, Problem> {
    let Refresh { refresh_token, client_id } = body.0;
    let token = api.sessions.parse_token(refresh_token.expose())?;
    // By session and never by address: an office behind one address must not log itself out.
    api.refresh_limit.check(token.session)?;
    let (client, device) = (Requester::named(client_id), origin.device(None));
    let tokens = api.sessions.refresh(token, client, key.as_bytes(), device).await?;
    Ok(HttpResponse::Ok().json(tokens))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogOut {
    refresh_token: Option<Secret<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogOutQuery {
    scope: Option<LogOutScope>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogOutScope {
    This,
    Others,
    All,
}

pub(super) async fn log_out(
    api: web::Data<Api>,
    caller: MaybeCaller,
    query: web::Query<LogOutQuery>,
    body: OptionalJson<LogOut>,
) -> Result<HttpResponse, Problem> {
    let scope = match query.scope {
        None | Some(LogOutScope::This) => Scope::This,
        Some(LogOutScope::Others) => Scope::Others,
        Some(LogOutScope::All) => Scope::All,
    };
    match (caller.0, body.0.refresh_token) {
        (Ok(caller), token) => {
            // A second credential for another session would be left alive by a "success".
            if let Some(token) = token
                && api.sessions.parse_token(token.expose())?.session != caller.session.uuid()
            {
                return Err(Problem::new(Code::MultipleCredentials).detail(
                    "The access token and the refresh token belong to different sessions.",
                ));
            }
            api.sessions.log_out(caller.user, caller.session, scope).await?;
        }
        // The access token has expired, as it does after minutes; the refresh token speaks for its
        // own session.
        (Err(_), Some(token)) if scope == Scope::This => {
            let token = api.sessions.parse_token(token.expose())?;
            api.refresh_limit.check(token.session)?;
            api.sessions.log_out_by_token(token).await?;
        }
        (Err(problem), _) => return Err(problem),
    }
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn list(api: web::Data<Api>, caller: Caller) -> Result<HttpResponse, Problem> {
    let sessions = api.sessions.list(caller.0.user, caller.0.session).await?;
    Ok(HttpResponse::Ok().json(json!({ "sessions": sessions })))
}

pub(super) async fn end(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    // What is no id is nobody's session.
    let id = Uuid::parse_str(&id).map_err(|_| Code::NotFound)?;
    if api.sessions.end(caller.0.user, id.into()).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(Code::NotFound).detail("You have no live session with this id."))
    }
}
