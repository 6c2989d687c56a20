//! What whoever runs Doorward does, while the service runs or not: `doorward client …` here,
//! `doorward audit` in [`audit`], `doorward hash …` in [`hash`], `doorward key …` in [`key`],
//! `doorward session …` in [`session`], `doorward user …` in [`user`].

pub mod audit;
pub mod hash;
pub mod key;
pub mod session;
pub mod user;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::settings::{one_connection, revocation_policy};
use crate::accounts::InvalidEmail;
use crate::clients::{self, AddError, Client, Clients, InvalidClient, Kind, Terms};
use crate::config::{self, Config, ConfigError};
use crate::database::{Database, OpenError, StoreError};
use crate::keys::KeysError;
use crate::passwords::{Overloaded, PasswordTooLong, WeakPassword};
use crate::revocations::Revocations;
use crate::sessions::client_credentials;

/// The shortest life of a client's access tokens: that of the setting.
const SHORTEST: Duration = Duration::from_secs(60);

/// What to do.
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
    /// Remove a client; its sessions and tokens end
    #[command(after_help = "Example: doorward client remove 019ab3e1-0b52-7e90-a2c6-5d41f7b80a93")]
    Remove {
        /// The client's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The client to add.
#[derive(Args)]
#[command(group = ArgGroup::new("of_an_app").args(["origin", "token_lifetime", "retry_window"])
    .multiple(true).requires("public"))]
pub struct AddClient {
    /// A name for people
    #[arg(long)]
    name: String,
    /// It is an app in a browser or on a phone, which can keep no secret
    #[arg(long, conflicts_with = "scope")]
    public: bool,
    /// A web origin from which the app may call, as in `https://app.example.com`
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// How long the app's access tokens live, as in 5m: never longer than `tokens.lifetime`
    #[arg(long, value_name = "DURATION")]
    token_lifetime: Option<String>,
    /// The app's `sessions.retry_window`; 0s: a retry needs its Idempotency-Key
    #[arg(long, value_name = "DURATION")]
    retry_window: Option<String>,
    /// A scope that the service may have in tokens of its own
    #[arg(long)]
    scope: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command did nothing, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// A setting or an argument is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client cannot be as it was described.
    #[error("{0}; describe the client otherwise")]
    Invalid(#[from] InvalidClient),
    /// There is no such client.
    #[error("there is no client `{0}`; `doorward client list` shows those that there are")]
    NoSuchClient(String),
    /// There is no such key.
    #[error("there is no signing key `{0}`; `doorward key list` shows those that there are")]
    NoSuchKey(String),
    /// There is no such account.
    #[error("there is no account `{0}`; `doorward user list` shows those that there are")]
    NoSuchUser(String),
    /// There is no such session.
    #[error(
        "there is no live session `{0}`; `doorward session list --user …` shows those of an account"
    )]
    NoSuchSession(String),
    /// The address cannot be one.
    #[error("{0}; nothing was added")]
    Email(#[from] InvalidEmail),
    /// There is an account with this address.
    #[error("there is an account `{0}` already; `doorward user show` shows it")]
    EmailTaken(String),
    /// Nobody said that an account shall be deleted.
    #[error("nothing was deleted; answer `yes` in a terminal, or give --yes")]
    NotConfirmed,
    /// A point in time is none.
    #[error(
        "--since: `{0}` is neither a duration nor a point in time; write it as in 7d, 90m, 2026-11-24 \
         or 2026-11-24T09:30:00Z"
    )]
    Since(String),
    /// Nobody said what the password is to be.
    #[error(
        "no password was given; run this in a terminal, or name a file with --password-file (`-` is \
         standard input)"
    )]
    NoPassword,
    /// The two that were typed differ.
    #[error("the two passwords differ; nothing was changed, try again")]
    PasswordsDiffer,
    /// The password's file cannot be read.
    #[error("{}: it cannot be read: {cause}; name a file that this user can read", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The password cannot be one.
    #[error("{0} Nothing was changed; choose another password")]
    TooLong(#[from] PasswordTooLong),
    /// The password could be guessed.
    #[error("{0} Nothing was changed; choose another password")]
    Weak(#[from] WeakPassword),
    /// The password was not hashed in time.
    #[error("{0}; nothing was changed, try again")]
    Overloaded(#[from] Overloaded),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The database was opened and then did not answer.
    #[error("{0}; try again, what was not done is done then")]
    Store(#[from] StoreError),
    /// The system gave no thread.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl From<AddError> for OperateError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(error) => error.into(),
            AddError::Store(error) => error.into(),
        }
    }
}

/// Carries out a command, and answers what there is to print.
///
/// # Errors
/// [`OperateError`].
pub fn client(config: &Config, command: &ClientCommand) -> Result<String, OperateError> {
    actix_web::rt::System::new().block_on(async {
        match command {
            ClientCommand::Add(new) => add(config, new).await,
            ClientCommand::List { json } => list(config, *json).await,
            ClientCommand::Remove { id, json } => remove(config, id, *json).await,
        }
    })
}

async fn add(config: &Config, new: &AddClient) -> Result<String, OperateError> {
    let kind = if new.public {
        Kind::Public { origins: new.origin.clone(), terms: terms(config, new)? }
    } else {
        Kind::Confidential { scopes: new.scope.clone() }
    };
    for origin in &new.origin {
        config::check_origin("--origin", origin)?;
    }
    let (client, secret) = open(config).await?.1.add(&new.name, kind).await?;
    if new.json {
        let mut shown = as_json(&client);
        if let Some(secret) = secret {
            shown["client_secret"] = json!(secret.expose());
        }
        return Ok(format!("{shown}\n"));
    }
    let secret = secret.map(|secret| {
        format!(
            "client_secret: {}\nKeep the secret now: it is not stored, and nobody can show it again.\n",
            secret.expose()
        )
    });
    Ok(format!("client_id: {}\n{}", client.id, secret.unwrap_or_default()))
}

fn terms(config: &Config, new: &AddClient) -> Result<Terms, ConfigError> {
    let longest = config.tokens.lifetime;
    let token_lifetime = new
        .token_lifetime
        .as_ref()
        .map(|text| config::parse_duration("--token-lifetime", text, SHORTEST..=longest))
        .transpose()?;
    let widest = token_lifetime.unwrap_or(longest);
    let retry_window = new
        .retry_window
        .as_ref()
        .map(|text| config::parse_duration("--retry-window", text, Duration::ZERO..=widest))
        .transpose()?;
    Ok(Terms { token_lifetime, retry_window })
}

async fn list(config: &Config, json: bool) -> Result<String, OperateError> {
    let clients = open(config).await?.1.list().await?;
    if json {
        return Ok(format!("{}\n", clients.iter().map(as_json).collect::<Value>()));
    }
    let mut lines = String::new();
    for client in &clients {
        let about = match &client.kind {
            Kind::Public { origins, .. } => format!("public        {}", origins.join(" ")),
            Kind::Confidential { scopes } => format!("confidential  {}", scopes.join(" ")),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{}  {}  {}", client.id, client.name, about.trim_end());
    }
    Ok(lines)
}

async fn remove(config: &Config, id: &str, json: bool) -> Result<String, OperateError> {
    let unknown = || OperateError::NoSuchClient(id.to_owned());
    let client = clients::canonical(id).ok_or_else(unknown)?;
    let (db, _) = open(config).await?;
    let clock = db.clock().await?;
    // It only adds to the list here, so how stale its own copy may be does not matter.
    let policy = revocation_policy(config);
    let revocations = Revocations::load(db.clone(), clock.clone(), policy).await?;
    let ended = client_credentials::remove_client(&db, &clock, &revocations, client).await?;
    let ended = ended.ok_or_else(unknown)?;
    Ok(if json {
        format!("{}\n", json!({ "client_id": client, "sessions_ended": ended }))
    } else {
        format!("removed {client}; sessions that ended with it: {ended}\n")
    })
}

/// The database, and the clients by its time.
async fn open(config: &Config) -> Result<(Database, Clients), OperateError> {
    let db = Database::open_existing(&one_connection(config)?)?;
    let clock = db.clock().await?;
    Ok((db.clone(), Clients::new(db, clock)))
}

fn as_json(client: &Client) -> Value {
    let Client { id, name, kind, created_at } = client;
    let mut shown = json!({ "client_id": id, "name": name, "created_at": created_at });
    let seconds = |duration: Option<Duration>| duration.map(|it| it.as_secs_f64());
    match kind {
        Kind::Public { origins, terms } => {
            shown["kind"] = json!("public");
            shown["origins"] = json!(origins);
            shown["token_lifetime_seconds"] = json!(seconds(terms.token_lifetime));
            shown["retry_window_seconds"] = json!(seconds(terms.retry_window));
        }
        Kind::Confidential { scopes } => {
            shown["kind"] = json!("confidential");
            shown["scopes"] = json!(scopes);
        }
    }
    shown
}
