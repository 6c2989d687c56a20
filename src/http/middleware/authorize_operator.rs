//! Authorisation of the admin API, before a body is read.
//!
//! The scope must be in the token and in the client's row: one that was taken away is gone at once.
//! A handler takes an [`Operator`], which only this middleware inserts, so an operation without a
//! scope in the table is refused.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};

use crate::audit::{Event, EventKind};
use crate::clients::AdminScope;
use crate::database::Id;
use crate::http::admin_routes::required_scope;
use crate::http::problem::{Code, Problem};
use crate::http::request::client_ip::ClientAddress;
use crate::http::request::credentials::BearerToken;
use crate::http::request::operator::Operator;
use crate::http::{Api, HttpSettings};

/// Wrap the routes of the admin API with `from_fn(authorize_operator)`.
///
/// # Errors
/// The error of the inner service.
pub async fn authorize_operator(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let pattern = request.match_pattern().unwrap_or_default();
    let scope = required_scope(request.method(), &pattern);
    // The router answers unknown paths and methods.
    let Some(scope) = scope else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    match authorize(&request, scope).await {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.call(request).await.map(ServiceResponse::map_into_boxed_body)
        }
        Err(problem) => Ok(request.error_response(problem)),
    }
}

async fn authorize(request: &ServiceRequest, scope: AdminScope) -> Result<Operator, Problem> {
    let api = request.app_data::<web::Data<Api>>().ok_or(Code::InternalError)?.clone();
    let token = BearerToken::of(request.request())?.ok_or_else(|| {
        Problem::new(Code::MissingToken).detail(
            "Send an access token of /token in the Authorization header, with the scheme Bearer.",
        )
    })?;
    let claims = api.sessions.verify_access_token(token.as_str()).await?;
    let granted = claims.scope.as_deref().unwrap_or_default();
    let is_granted = claims.sid.is_none() && granted.split(' ').any(|it| it == scope.as_str());
    let client = Id::parse(&claims.client_id).filter(|_| is_granted);
    let client = client.ok_or_else(|| lacks(scope))?;
    if !api.clients.has_scope(client, scope).await? {
        return Err(lacks(scope));
    }
    if *request.method() == Method::GET {
        record_read(request, &api, &client.to_string());
    }
    Ok(Operator(client))
}

/// Reads are added up by client and minute.
fn record_read(request: &ServiceRequest, api: &Api, client: &str) {
    let settings = request.app_data::<web::Data<HttpSettings>>();
    let network = settings.map(|settings| {
        ClientAddress::of(request.request(), &settings.trusted_proxies).network().to_string()
    });
    let read = Event::new(EventKind::AdminRead).with_address(network.as_deref());
    api.audit.aggregate(&read.with_actor(Some(client)));
}

fn lacks(scope: AdminScope) -> Problem {
    let detail = format!(
        "The access token must belong to a client with the scope {}, and carry it.",
        scope.as_str()
    );
    Problem::new(Code::InsufficientScope).detail(detail)
}
