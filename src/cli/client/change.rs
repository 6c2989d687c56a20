//! Changes of a client that keep its id and its sessions.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::{AdminError, Opened};
use crate::clients::{
    ClientChange, ClientChangeError, DurationChange, MAX_OVERLAP, MIN_TOKEN_LIFETIME,
};
use crate::config::{self, Config, ConfigError};
use crate::database::{ExpectedVersion, Id};

/// Resets a lifetime to the global setting.
const DEFAULT: &str = "default";

/// The arguments of `doorward client set`.
#[derive(Args)]
pub struct SetClient {
    /// The client's id
    id: String,
    /// Another display name
    #[arg(long)]
    name: Option<String>,
    /// The web origins that may call, instead of the present ones
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// No web origin may call
    #[arg(long, conflicts_with = "origin")]
    no_origin: bool,
    /// The scopes that the service may request, instead of the present ones; tokens with a removed
    /// one stay valid until they expire
    #[arg(long)]
    scope: Vec<String>,
    /// The service may request no scope
    #[arg(long, conflicts_with = "scope")]
    no_scope: bool,
    /// Lifetime of the app's access tokens, as in 5m; `default` for `tokens.lifetime`
    #[arg(long, value_name = "DURATION")]
    token_lifetime: Option<String>,
    /// The app's retry window, as in 0s; `default` for `sessions.retry_window`
    #[arg(long, value_name = "DURATION")]
    retry_window: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `doorward client rotate-secret`.
#[derive(Args)]
pub struct RotateSecret {
    /// The client's id
    id: String,
    /// How long the present secret stays valid beside the new one, as in 24h; at most 30d
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    keep_old: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn set(config: &Config, wanted: &SetClient) -> Result<String, AdminError> {
    let id = id(&wanted.id)?;
    let longest = config.tokens.lifetime;
    let list = |items: &Vec<String>, none: bool| (none || !items.is_empty()).then(|| items.clone());
    let change = ClientChange {
        name: wanted.name.clone(),
        origins: list(&wanted.origin, wanted.no_origin),
        scopes: list(&wanted.scope, wanted.no_scope),
        token_lifetime: duration(
            "--token-lifetime",
            wanted.token_lifetime.as_deref(),
            MIN_TOKEN_LIFETIME,
            longest,
        )?,
        retry_window: duration(
            "--retry-window",
            wanted.retry_window.as_deref(),
            Duration::ZERO,
            longest,
        )?,
    };
    let clients = Opened::new(config).await?.clients(config);
    let changed = clients
        .change(id, change, ExpectedVersion::Any)
        .await
        .map_err(|error| failed(error, &wanted.id))?;
    Ok(if wanted.json {
        format!("{}\n", changed.to_json())
    } else {
        format!("changed {id}; its sessions continue\n")
    })
}

pub(super) async fn rotate_secret(
    config: &Config,
    wanted: &RotateSecret,
) -> Result<String, AdminError> {
    let id = id(&wanted.id)?;
    let overlap =
        config::parse_duration("--keep-old", &wanted.keep_old, Duration::ZERO..=MAX_OVERLAP)?;
    let clients = Opened::new(config).await?.clients(config);
    let rotated = clients.rotate_secret(id, overlap, ExpectedVersion::Any).await;
    let rotated = rotated.map_err(|error| failed(error, &wanted.id))?;
    let (secret, until) = (rotated.secret.expose(), rotated.client.old_secret_until);
    if wanted.json {
        let said = json!({ "client_id": id, "client_secret": secret, "old_secret_until": until });
        return Ok(format!("{said}\n"));
    }
    let old = until.map_or_else(
        || "The old secret is rejected from now on.".to_owned(),
        |until| format!("The old secret is valid until {until}."),
    );
    Ok(format!(
        "client_secret: {secret}\nKeep the secret now: it is not stored and cannot be shown again. \
         {old}\n"
    ))
}

fn id(text: &str) -> Result<Id, AdminError> {
    Id::parse(text).ok_or_else(|| AdminError::NoSuchClient(text.to_owned()))
}

fn duration(
    flag: &str,
    text: Option<&str>,
    least: Duration,
    most: Duration,
) -> Result<DurationChange, ConfigError> {
    Ok(match text {
        None => DurationChange::Keep,
        Some(DEFAULT) => DurationChange::UseSetting,
        Some(text) => DurationChange::Set(config::parse_duration(flag, text, least..=most)?),
    })
}

pub(super) fn failed(error: ClientChangeError, id: &str) -> AdminError {
    match error {
        // A command expects no version, and may change every client.
        ClientChangeError::NoSuchClient
        | ClientChangeError::OtherVersion
        | ClientChangeError::Protected(_) => AdminError::NoSuchClient(id.to_owned()),
        ClientChangeError::Invalid(error) => error.into(),
        ClientChangeError::TooLong(error) => error.into(),
        ClientChangeError::Store(error) => error.into(),
    }
}
