//! `/admin/users`.

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{id, page_length};
use crate::accounts::admin::{
    AccountFilter, AccountPage, AccountUpdate, GrantChange, LiveSessions,
};
use crate::accounts::{AccountDetails, CustomClaims, Email, NewAccount, NewPassword, RoleSet};
use crate::database::Id;
use crate::http::Api;
use crate::http::errors::invalid;
use crate::http::problem::{Code, Problem};
use crate::http::request::json::{Json, OptionalJson};
use crate::http::request::operator::{IfMatch, Operator, entity_tag};
use crate::secret::Secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UsersQuery {
    email: Option<String>,
    disabled: Option<bool>,
    after: Option<Id>,
    limit: Option<u32>,
}

pub(in crate::http) async fn list(
    api: web::Data<Api>,
    _: Operator,
    query: web::Query<UsersQuery>,
) -> Result<HttpResponse, Problem> {
    let UsersQuery { email, disabled, after, limit } = query.into_inner();
    let wanted = AccountFilter { email, disabled, after, limit: page_length(limit)? };
    let AccountPage { accounts, next } = api.account_admin.search(wanted).await?;
    let users: Vec<Value> = accounts.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({ "users": users, "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AddUser {
    email: String,
    password: Option<Secret<String>>,
    password_hash: Option<Secret<String>>,
    #[serde(default)]
    invite: bool,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    email_verified: bool,
}

pub(in crate::http) async fn add(
    api: web::Data<Api>,
    operator: Operator,
    body: Json<AddUser>,
) -> Result<HttpResponse, Problem> {
    let AddUser { email, password, password_hash, invite, roles, email_verified } = body.0;
    let password = match (password, password_hash, invite) {
        (Some(text), None, false) => NewPassword::Text(text),
        (None, Some(hash), false) => NewPassword::Hash(hash),
        // The invitation proves the address.
        (None, None, true) if !email_verified => NewPassword::Invite,
        _ => {
            return Err(Problem::new(Code::MalformedRequest).detail(
                "Send one of password, password_hash and invite, and no email_verified with invite.",
            ));
        }
    };
    let admin = api.account_admin.with_actor(&operator.actor());
    let account =
        api.accounts.add(&admin, NewAccount { email, password, roles, email_verified }).await?;
    let mut response = respond(StatusCode::CREATED, &account);
    if let Ok(location) = format!("/admin/users/{}", account.id).parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

pub(in crate::http) async fn show(
    api: web::Data<Api>,
    _: Operator,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let account = api.account_admin.show(id(&user)?).await?.ok_or(Code::NotFound)?;
    Ok(respond(StatusCode::OK, &account))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ChangeUser {
    email: Option<String>,
    email_verified: Option<bool>,
    disabled: Option<bool>,
    claims: Option<Map<String, Value>>,
    #[serde(default)]
    keep_sessions: bool,
}

pub(in crate::http) async fn change(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
    expected: IfMatch,
    body: Json<ChangeUser>,
) -> Result<HttpResponse, Problem> {
    let ChangeUser { email, email_verified, disabled, claims, keep_sessions } = body.0;
    let email = email.map(|text| Email::parse(&text)).transpose();
    let email = email.map_err(|error| invalid("/email", &error))?;
    let claims = claims.map(|members| CustomClaims::parse(&Value::Object(members).to_string()));
    let claims = claims.transpose().map_err(|error| invalid("/claims", &error))?;
    let grants = claims.map(GrantChange::SetClaims);
    let live = live(keep_sessions);
    let update = AccountUpdate { email, email_verified, disabled, grants, live };
    let admin = api.account_admin.with_actor(&operator.actor());
    Ok(respond(StatusCode::OK, &admin.update(id(&user)?, update, expected.0).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SetRoles {
    roles: Vec<String>,
    #[serde(default)]
    keep_sessions: bool,
}

pub(in crate::http) async fn set_roles(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
    expected: IfMatch,
    body: Json<SetRoles>,
) -> Result<HttpResponse, Problem> {
    let SetRoles { roles, keep_sessions } = body.0;
    let roles = RoleSet::parse(&roles).map_err(|error| invalid("/roles", &error))?;
    let grants = Some(GrantChange::SetRoles(roles));
    let update = AccountUpdate { grants, live: live(keep_sessions), ..AccountUpdate::default() };
    let admin = api.account_admin.with_actor(&operator.actor());
    Ok(respond(StatusCode::OK, &admin.update(id(&user)?, update, expected.0).await?))
}

pub(in crate::http) async fn delete(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
    expected: IfMatch,
) -> Result<HttpResponse, Problem> {
    let admin = api.account_admin.with_actor(&operator.actor());
    admin.delete_expected(id(&user)?, expected.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct MailReset {}

pub(in crate::http) async fn reset_password(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
    _: OptionalJson<MailReset>,
) -> Result<HttpResponse, Problem> {
    api.account_admin.with_actor(&operator.actor()).mail_reset(id(&user)?).await?;
    Ok(HttpResponse::Accepted().finish())
}

pub(in crate::http) async fn reset_factors(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user = id(&user)?;
    let admin = api.account_admin.with_actor(&operator.actor());
    // Without factors there is nothing to remove, and a repeated request is a success.
    if !admin.reset_factors(user).await?.changed {
        admin.show(user).await?.ok_or(Code::NotFound)?;
    }
    Ok(HttpResponse::NoContent().finish())
}

const fn live(keep_sessions: bool) -> LiveSessions {
    if keep_sessions { LiveSessions::Keep } else { LiveSessions::End }
}

fn respond(status: StatusCode, account: &AccountDetails) -> HttpResponse {
    let tag = entity_tag(account.version);
    HttpResponse::build(status).insert_header((ETAG, tag)).json(shown(account))
}

fn shown(account: &AccountDetails) -> Value {
    let mut shown = account.to_json();
    shown["disabled"] = json!(account.disabled_at.is_some());
    shown
}
