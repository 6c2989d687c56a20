//! `/admin/users/{id}/sessions`.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::id;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::operator::Operator;

pub(in crate::http) async fn list(
    api: web::Data<Api>,
    _: Operator,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let sessions = api.account_admin.sessions_of_account(id(&user)?).await?;
    let sessions = sessions.ok_or(Code::NotFound)?;
    Ok(HttpResponse::Ok().json(json!({ "sessions": sessions })))
}

pub(in crate::http) async fn end_all(
    api: web::Data<Api>,
    operator: Operator,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let admin = api.account_admin.with_actor(&operator.actor());
    if admin.end_sessions_of_account(id(&user)?).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Code::NotFound.into())
    }
}

pub(in crate::http) async fn end(
    api: web::Data<Api>,
    operator: Operator,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (user, session) = (id(&path.0)?, id(&path.1)?);
    let admin = api.account_admin.with_actor(&operator.actor());
    if admin.end_session_of(user, session).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(Code::NotFound).detail("The account has no live session with this id."))
    }
}
