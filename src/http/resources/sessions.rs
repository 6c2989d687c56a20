//! `/login`, `/refresh`, `/logout` and `/sessions`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::accounts::LoginAttempt;
use crate::clients::{self, RequestingClient};
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::authenticated::{Caller, MaybeCaller};
use crate::http::request::cookies::{Cookies, Transport};
use crate::http::request::idempotency_key::IdempotencyKey;
use crate::http::request::json::{Json, OptionalJson};
use crate::http::request::requester::RequestSource;
use crate::http::request::second_factor::SecondFactorMember;
use crate::secret::Secret;
use crate::sessions::{ReplacedSessions, SessionScope, Tokens};

/// The longest label of a session, in characters.
const LABEL_CHARS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LogIn {
    email: String,
    password: Secret<String>,
    client_id: Option<String>,
    label: Option<String>,
    known_device: Option<Secret<String>>,
    second_factor: Option<SecondFactorMember>,
    #[serde(default)]
    transport: Transport,
}

pub(in crate::http) async fn log_in(
    api: web::Data<Api>,
    source: RequestSource,
    cookies: Cookies,
    body: Json<LogIn>,
) -> Result<HttpResponse, Problem> {
    let LogIn { email, password, client_id, label, known_device, second_factor, transport } =
        body.0;
    if transport == Transport::Cookie {
        cookies.ensure_allowed()?;
    }
    let attempt = LoginAttempt {
        email,
        password,
        second_factor: SecondFactorMember::parse(second_factor)?,
        client_id: client_id.unwrap_or_else(|| clients::BUILT_IN.to_owned()),
        // A malformed one proves nothing, and is not a reason to reject a password.
        known_device: match known_device {
            Some(token) => api.sessions.parse_token(token.expose()).ok(),
            None if transport == Transport::Cookie => {
                api.sessions.parse_newest(&cookies.refresh_tokens()).ok()
            }
            None => None,
        },
        replaces: replaced_sessions(&api, &cookies, transport).await,
        network: source.network().to_owned(),
        device: source.device(label.map(check_label).transpose()?),
        with_cookies: transport == Transport::Cookie,
    };
    let tokens = api.accounts.log_in(attempt).await;
    let tokens = tokens.map_err(|error| Problem::from_login(error, "/second_factor"))?;
    cookies.respond_with_tokens(tokens, transport)
}

/// The sessions of the browser whose cookies the response will replace (ASVS 7.2.4).
pub(super) async fn replaced_sessions(
    api: &Api,
    cookies: &Cookies,
    transport: Transport,
) -> ReplacedSessions {
    match transport {
        Transport::Cookie => {
            let (refresh, access) = (cookies.refresh_tokens(), cookies.access());
            api.sessions.replaced_sessions(&refresh, access).await
        }
        Transport::Body => ReplacedSessions::default(),
    }
}

pub(super) fn check_label(label: String) -> Result<String, Problem> {
    if label.chars().count() > LABEL_CHARS || label.chars().any(char::is_control) {
        let rule = "Give a label of at most 100 characters, without control characters.";
        return Err(Problem::new(Code::InvalidFields).detail(rule).field("/label", rule));
    }
    Ok(label)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Refresh {
    refresh_token: Option<Secret<String>>,
    client_id: Option<String>,
}

pub(in crate::http) async fn refresh(
    api: web::Data<Api>,
    key: IdempotencyKey,
    source: RequestSource,
    cookies: Cookies,
    body: OptionalJson<Option<Refresh>>,
) -> Result<HttpResponse, Problem> {
    let has_body = body.0.is_some();
    let Refresh { refresh_token: member, client_id } = body.0.unwrap_or_default();
    let transport = cookies.transport(member.is_some())?;
    let texts = match &member {
        Some(token) => vec![token.expose().as_str()],
        // A page cannot see whether it has one, and sends an empty body.
        None => cookies.refresh_tokens(),
    };
    if texts.is_empty() {
        api.sessions.record_malformed_token();
        // A page sends nothing, or the id of its app; any other body without a token lacks a
        // member.
        let is_from_a_page = !has_body || client_id.is_some() || transport == Transport::Cookie;
        return cookies.respond_with_error(no_refresh_token(is_from_a_page), transport);
    }
    match exchange(&api, &texts, RequestingClient::named(client_id), &key, &source).await {
        Ok(tokens) => cookies.respond_with_tokens(tokens, transport),
        Err(problem) => cookies.respond_with_error(problem, transport),
    }
}

async fn exchange(
    api: &Api,
    texts: &[&str],
    client: RequestingClient,
    key: &IdempotencyKey,
    source: &RequestSource,
) -> Result<Tokens, Problem> {
    let token = api.sessions.parse_newest(texts);
    let token = token.inspect_err(|_| api.sessions.record_malformed_token())?;
    // By session and never by address: an office behind one address must not log itself out.
    api.refresh_limit.check(token.session)?;
    Ok(api.sessions.refresh(token, client, key.as_bytes(), source.device(None)).await?)
}

fn no_refresh_token(is_from_a_page: bool) -> Problem {
    if is_from_a_page {
        return Problem::new(Code::MissingToken).detail(
            "Send a refresh token as refresh_token in the body, or in the cookie of a login with \
             cookies; from a page, call fetch with credentials: 'include'.",
        );
    }
    Problem::new(Code::MalformedRequest)
        .detail("The body does not match the expected schema.")
        .field("/refresh_token", "This member is required.")
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LogOut {
    refresh_token: Option<Secret<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LogOutQuery {
    scope: Option<LogOutScope>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogOutScope {
    This,
    Others,
    All,
}

pub(in crate::http) async fn log_out(
    api: web::Data<Api>,
    caller: MaybeCaller,
    source: RequestSource,
    cookies: Cookies,
    query: web::Query<LogOutQuery>,
    body: OptionalJson<LogOut>,
) -> Result<HttpResponse, Problem> {
    let scope = match query.scope {
        None | Some(LogOutScope::This) => SessionScope::This,
        Some(LogOutScope::Others) => SessionScope::Others,
        Some(LogOutScope::All) => SessionScope::All,
    };
    let member = body.0.refresh_token;
    let transport = cookies.transport(member.is_some())?;
    let texts = match &member {
        Some(token) => vec![token.expose().as_str()],
        None => cookies.refresh_tokens(),
    };
    match end_sessions(&api, caller, &texts, scope, transport, source.network()).await {
        // The others have ended, and this one continues.
        Ok(()) if scope == SessionScope::Others => Ok(HttpResponse::NoContent().finish()),
        Ok(()) => cookies.clear(HttpResponse::NoContent().finish(), transport),
        Err(problem) if scope == SessionScope::This => {
            cookies.respond_with_error(problem, transport)
        }
        // The page may refresh and retry.
        Err(problem) => Err(problem),
    }
}

/// Ends sessions by the access token, which may end more than its own, otherwise by the refresh
/// token.
async fn end_sessions(
    api: &Api,
    caller: MaybeCaller,
    texts: &[&str],
    scope: SessionScope,
    transport: Transport,
    address: &str,
) -> Result<(), Problem> {
    let token = match api.sessions.parse_newest(texts) {
        Ok(token) => Some(token),
        Err(error) if transport == Transport::Body && !texts.is_empty() => return Err(error.into()),
        Err(_) => None,
    };
    match (caller.access, token) {
        (Ok(caller), Some(token)) if token.session != caller.session.uuid() => {
            // A second credential for another session would stay valid after a "success".
            if transport == Transport::Body || scope != SessionScope::This {
                return Err(Problem::new(Code::MultipleCredentials).detail(
                    "The access token and the refresh token belong to different sessions.",
                ));
            }
            // A late response of an earlier session has overwritten the current access token: the
            // browser holds both, and must hold neither.
            api.sessions.log_out(caller, scope, address).await?;
            api.sessions.log_out_by_token(token, address).await?;
        }
        (Ok(caller), _) => api.sessions.log_out(caller, scope, address).await?,
        // The access token has expired, as it does after minutes; the refresh token identifies its
        // session.
        (Err(_), Some(token)) if scope == SessionScope::This => {
            api.refresh_limit.check(token.session)?;
            api.sessions.log_out_by_token(token, address).await?;
        }
        // It was logged out before: a client that lost the response retries.
        (Err(_), None) if scope == SessionScope::This && caller.ended.is_some() => {}
        // All sessions were logged out before. A session that has started since stays live, so then
        // this is not a success.
        (Err(problem), token) if scope == SessionScope::All => {
            let own = caller
                .ended
                .filter(|ended| token.is_none_or(|token| token.session == ended.session.uuid()));
            let Some(ended) = own else { return Err(problem) };
            if !api.sessions.have_all_ended(ended.user).await? {
                return Err(problem);
            }
        }
        (Err(problem), _) => return Err(problem),
    }
    Ok(())
}

pub(in crate::http) async fn list(
    api: web::Data<Api>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let sessions = api.sessions.list(caller.0.user, caller.0.session).await?;
    Ok(HttpResponse::Ok().json(json!({ "sessions": sessions })))
}

pub(in crate::http) async fn end(
    api: web::Data<Api>,
    caller: Caller,
    source: RequestSource,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    // In any spelling of a UUID. Other text matches no session.
    let id = Uuid::parse_str(&id).map_err(|_| Code::NotFound)?;
    if api.sessions.end(caller.0.user, id.into(), source.network()).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(Code::NotFound).detail("You have no live session with this id."))
    }
}
