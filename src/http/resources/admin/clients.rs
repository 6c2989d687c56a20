//! `/admin/clients`.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::id;
use crate::clients::{Client, ClientChange, ClientKind, ClientSettings, DurationChange};
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::http::request::json::{Json, OptionalJson};
use crate::http::request::operator::{IfMatch, Operator, OptionalIfMatch, entity_tag};
use crate::sessions::client_credentials::remove_client;

pub(in crate::http) async fn list(
    api: web::Data<Api>,
    _: Operator,
) -> Result<HttpResponse, Problem> {
    let clients: Vec<Value> = api.clients.list().await?.iter().map(Client::to_json).collect();
    Ok(HttpResponse::Ok().json(json!({ "clients": clients })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AddClient {
    name: String,
    kind: Kind,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    token_lifetime_seconds: Seconds,
    #[serde(default)]
    retry_window_seconds: Seconds,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Public,
    Confidential,
}

pub(in crate::http) async fn add(
    api: web::Data<Api>,
    operator: Operator,
    body: Json<AddClient>,
) -> Result<HttpResponse, Problem> {
    let AddClient { name, kind, origins, scopes, token_lifetime_seconds, retry_window_seconds } =
        body.0;
    let client_settings = ClientSettings {
        token_lifetime: token_lifetime_seconds.0.duration(),
        retry_window: retry_window_seconds.0.duration(),
    };
    let kind = match kind {
        Kind::Public if scopes.is_empty() => ClientKind::Public { origins, client_settings },
        Kind::Confidential
            if origins.is_empty() && client_settings == ClientSettings::default() =>
        {
            ClientKind::Confidential { scopes }
        }
        Kind::Public | Kind::Confidential => {
            return Err(Problem::new(Code::MalformedRequest).detail(
                "Only a confidential client has scopes, and only a public one origins and lifetimes.",
            ));
        }
    };
    let (client, secret) = api.clients.over_http(&operator.actor()).add(&name, kind).await?;
    let mut answer = client.to_json();
    if let Some(secret) = secret {
        answer["client_secret"] = json!(secret.expose());
    }
    let location = format!("/admin/clients/{}", client.id);
    Ok(HttpResponse::Created()
        .insert_header((ETAG, entity_tag(client.version)))
        .insert_header((LOCATION, location))
        .json(answer))
}

pub(in crate::http) async fn show(
    api: web::Data<Api>,
    _: Operator,
    client: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let client = api.clients.find(id(&client)?).await?.ok_or(Code::NotFound)?;
    Ok(respond(&client))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ChangeClient {
    name: Option<String>,
    origins: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    token_lifetime_seconds: Seconds,
    #[serde(default)]
    retry_window_seconds: Seconds,
}

pub(in crate::http) async fn change(
    api: web::Data<Api>,
    operator: Operator,
    client: web::Path<String>,
    expected: IfMatch,
    body: Json<ChangeClient>,
) -> Result<HttpResponse, Problem> {
    let ChangeClient { name, origins, scopes, token_lifetime_seconds, retry_window_seconds } =
        body.0;
    let change = ClientChange {
        name,
        origins,
        scopes,
        token_lifetime: token_lifetime_seconds.0,
        retry_window: retry_window_seconds.0,
    };
    let clients = api.clients.over_http(&operator.actor());
    Ok(respond(&clients.change(id(&client)?, change, expected.0).await?))
}

pub(in crate::http) async fn remove(
    api: web::Data<Api>,
    operator: Operator,
    client: web::Path<String>,
    expected: IfMatch,
) -> Result<HttpResponse, Problem> {
    let clients = api.clients.over_http(&operator.actor());
    remove_client(&clients, &api.revocations, id(&client)?, expected.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RotateSecret {
    #[serde(default)]
    keep_old_seconds: u64,
}

pub(in crate::http) async fn rotate_secret(
    api: web::Data<Api>,
    operator: Operator,
    client: web::Path<String>,
    expected: OptionalIfMatch,
    body: OptionalJson<RotateSecret>,
) -> Result<HttpResponse, Problem> {
    let overlap = Duration::from_secs(body.0.keep_old_seconds);
    let clients = api.clients.over_http(&operator.actor());
    let rotated = clients.rotate_secret(id(&client)?, overlap, expected.0).await?;
    Ok(HttpResponse::Ok().insert_header((ETAG, entity_tag(rotated.client.version))).json(json!({
        "client_id": rotated.client.id,
        "client_secret": rotated.secret.expose(),
        "old_secret_until": rotated.client.old_secret_until,
    })))
}

/// A member with a duration in seconds: `null` is the global setting, and an absent one changes
/// nothing.
#[derive(Clone, Copy, Default)]
struct Seconds(DurationChange);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else {
            return Ok(Self(DurationChange::UseSetting));
        };
        let duration = Duration::try_from_secs_f64(seconds);
        let duration = duration.map_err(|_| de::Error::custom("not a number of seconds"))?;
        Ok(Self(DurationChange::Set(duration)))
    }
}

fn respond(client: &Client) -> HttpResponse {
    let tag = entity_tag(client.version);
    HttpResponse::build(StatusCode::OK).insert_header((ETAG, tag)).json(client.to_json())
}
