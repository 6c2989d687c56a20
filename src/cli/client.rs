//! `doorward client …`: the registered apps and services.

mod change;

use std::fmt::Write as _;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use crate::clients::{Client, ClientKind, ClientSettings, MIN_TOKEN_LIFETIME};
use crate::config::{self, Config, ConfigError};
use crate::database::{ExpectedVersion, Id};
use crate::sessions::client_credentials;

use super::{AdminError, Opened, block_on};
use change::{RotateSecret, SetClient};

/// The subcommands of `doorward client`.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Register an app (--public) or a service, whose secret is shown once
    #[command(
        after_help = "Examples, an app and a service:\n  doorward client add --name Shop --public \
                      --origin https://shop.example.com\n  doorward client add --name Orders --scope \
                      orders:read"
    )]
    Add(AddClient),
    /// List the registered clients
    #[command(after_help = "Example: doorward client list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a client's name, origins, scopes or lifetimes: its id, sessions and tokens stay
    #[command(
        after_help = "Example: doorward client set 019ab3e1-0b52-7e90-a2c6-5d41f7b80a93 --origin \
                      https://shop.example.com"
    )]
    Set(SetClient),
    /// Give a service another secret, which is shown once: its tokens stay
    #[command(
        after_help = "Example: doorward client rotate-secret 019ab3e1-0b52-7e90-a2c6-5d41f7b80a93 \
                      --keep-old 24h"
    )]
    RotateSecret(RotateSecret),
    /// Remove a client: its sessions end and its tokens are revoked
    #[command(after_help = "Example: doorward client remove 019ab3e1-0b52-7e90-a2c6-5d41f7b80a93")]
    Remove {
        /// The client's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of `doorward client add`.
#[derive(Args)]
#[command(group = ArgGroup::new("of_an_app").args(["origin", "token_lifetime", "retry_window"])
    .multiple(true).requires("public"))]
pub struct AddClient {
    /// A display name
    #[arg(long)]
    name: String,
    /// The client is an app in a browser or on a phone, which cannot keep a secret
    #[arg(long, conflicts_with = "scope")]
    public: bool,
    /// A web origin that may call, as in `https://app.example.com`
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// Lifetime of the app's access tokens, as in 5m; at most `tokens.lifetime`
    #[arg(long, value_name = "DURATION")]
    token_lifetime: Option<String>,
    /// The app's `sessions.retry_window`; with 0s a retry needs its Idempotency-Key
    #[arg(long, value_name = "DURATION")]
    retry_window: Option<String>,
    /// A scope that the service may request for its own tokens
    #[arg(long)]
    scope: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn client(config: &Config, command: &ClientCommand) -> Result<String, AdminError> {
    block_on(async {
        match command {
            ClientCommand::Add(new) => add(config, new).await,
            ClientCommand::List { json } => list(config, *json).await,
            ClientCommand::Set(wanted) => change::set(config, wanted).await,
            ClientCommand::RotateSecret(wanted) => change::rotate_secret(config, wanted).await,
            ClientCommand::Remove { id, json } => remove(config, id, *json).await,
        }
    })
}

async fn add(config: &Config, new: &AddClient) -> Result<String, AdminError> {
    let kind = if new.public {
        ClientKind::Public {
            origins: new.origin.clone(),
            client_settings: client_settings(config, new)?,
        }
    } else {
        ClientKind::Confidential { scopes: new.scope.clone() }
    };
    for origin in &new.origin {
        config::check_origin("--origin", origin)?;
    }
    let (client, secret) = Opened::new(config).await?.clients(config).add(&new.name, kind).await?;
    if new.json {
        let mut shown = client.to_json();
        if let Some(secret) = secret {
            shown["client_secret"] = json!(secret.expose());
        }
        return Ok(format!("{shown}\n"));
    }
    let secret = secret.map(|secret| {
        format!(
            "client_secret: {}\nKeep the secret now: it is not stored and cannot be shown again.\n",
            secret.expose()
        )
    });
    Ok(format!("client_id: {}\n{}", client.id, secret.unwrap_or_default()))
}

fn client_settings(config: &Config, new: &AddClient) -> Result<ClientSettings, ConfigError> {
    let longest = config.tokens.lifetime;
    let token_lifetime = new
        .token_lifetime
        .as_ref()
        .map(|text| config::parse_duration("--token-lifetime", text, MIN_TOKEN_LIFETIME..=longest))
        .transpose()?;
    let widest = token_lifetime.unwrap_or(longest);
    let retry_window = new
        .retry_window
        .as_ref()
        .map(|text| config::parse_duration("--retry-window", text, Duration::ZERO..=widest))
        .transpose()?;
    Ok(ClientSettings { token_lifetime, retry_window })
}

async fn list(config: &Config, json: bool) -> Result<String, AdminError> {
    let clients = Opened::read_only(config).await?.clients(config).list().await?;
    if json {
        return Ok(format!("{}\n", clients.iter().map(Client::to_json).collect::<Value>()));
    }
    let mut lines = String::new();
    for client in &clients {
        let about = match &client.kind {
            ClientKind::Public { origins, .. } => format!("public        {}", origins.join(" ")),
            ClientKind::Confidential { scopes } => format!("confidential  {}", scopes.join(" ")),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}  {}  {}", client.id, client.name, about.trim_end());
    }
    Ok(lines)
}

async fn remove(config: &Config, id: &str, json: bool) -> Result<String, AdminError> {
    let unknown = || AdminError::NoSuchClient(id.to_owned());
    let client = Id::parse(id).ok_or_else(unknown)?;
    let opened = Opened::new(config).await?;
    let revocations = opened.revocations(config);
    let clients = opened.clients(config);
    let any = ExpectedVersion::Any;
    let ended = client_credentials::remove_client(&clients, &revocations, client, any).await;
    let ended = ended.map_err(|error| change::failed(error, id))?;
    Ok(if json {
        format!("{}\n", json!({ "client_id": client, "sessions_ended": ended }))
    } else {
        format!("removed {client}; sessions that ended with it: {ended}\n")
    })
}
