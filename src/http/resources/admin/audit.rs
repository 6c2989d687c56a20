//! `/admin/audit`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::page_length;
use crate::audit::{EventKind, EventRange};
use crate::database::Id;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::operator::Operator;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AuditQuery {
    user: Option<Id>,
    event: Option<String>,
    after: Option<Id>,
    limit: Option<u32>,
}

pub(in crate::http) async fn list(
    api: web::Data<Api>,
    _: Operator,
    query: web::Query<AuditQuery>,
) -> Result<HttpResponse, Problem> {
    let AuditQuery { user, event, after, limit } = query.into_inner();
    let unknown = || Problem::new(Code::MalformedRequest).detail("event is not an event name.");
    let kind = event.map(|name| EventKind::parse(&name).ok_or_else(unknown)).transpose()?;
    let wanted = EventRange { user, kind, after, limit: page_length(limit)? };
    let page = api.audit.events_after(wanted).await?;
    Ok(HttpResponse::Ok().json(json!({ "events": page.events, "next": page.next })))
}
