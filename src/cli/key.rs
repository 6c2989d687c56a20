//! `doorward key …`: administers signing keys, while the service runs or not.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{AdminError, Opened, block_on};
use crate::app::settings;
use crate::clock::Clock;
use crate::config::Config;
use crate::database::Database;
use crate::keys::KeyState;
use crate::keys::admin::{KeyAdmin, KeyStatus};
use crate::revocations::Revocations;
use crate::tokens::revocation_id_of_kid;

/// The subcommands of `doorward key`.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// List the signing keys and their next state changes
    #[command(after_help = "Example: doorward key list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish the next key now; it signs as soon as every cached JWKS must contain it
    ///
    /// Without this command a key signs for `tokens.key_lifetime`, and its successor is published
    /// in time automatically.
    #[command(after_help = "Example: doorward key rotate")]
    Rotate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Retire a signing key in order
    ///
    /// An active key gets a successor and is removed when its last token has expired; the next key
    /// is removed at once, because it has signed nothing.
    #[command(after_help = "Example: doorward key retire wX5a0uZkq3B")]
    Retire {
        /// The key's `kid`
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Replaced by `doorward key revoke`
        #[arg(long, hide = true)]
        now: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key and all its tokens at once
    ///
    /// Another key signs from then on.
    #[command(after_help = "Example, for a key that may be compromised:\n  doorward key revoke \
                      wX5a0uZkq3B\nIts tokens are rejected at once, on every node and by every \
                      subscriber of the revocation feed; clients refresh and continue. Other \
                      services reject them when their cached keys expire (tokens.jwks_max_age).")]
    Revoke {
        /// The key's `kid`
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn key(config: &Config, command: &KeyCommand) -> Result<String, AdminError> {
    if matches!(command, KeyCommand::Retire { now: true, .. }) {
        return Err(AdminError::RetireNow);
    }
    block_on(async {
        let opened = match command {
            KeyCommand::List { .. } => Opened::read_only(config).await?,
            KeyCommand::Rotate { .. } | KeyCommand::Retire { .. } | KeyCommand::Revoke { .. } => {
                Opened::new(config).await?
            }
        };
        let signing = Signing::open(config, opened).await?;
        match command {
            KeyCommand::List { json } => signing.list(*json).await,
            KeyCommand::Rotate { json } => {
                let next = signing.keys.rotate().await?;
                Ok(if *json { line(&as_json(&next)) } else { described(&next) })
            }
            KeyCommand::Revoke { kid, json } => signing.revoke(kid, *json).await,
            KeyCommand::Retire { kid, json, .. } => signing.retire(kid, *json).await,
        }
    })
}

/// The keys of the configured database.
struct Signing {
    db: Database,
    clock: Clock,
    keys: KeyAdmin,
    revocations: Revocations,
}

impl Signing {
    async fn open(config: &Config, opened: Opened) -> Result<Self, AdminError> {
        let secrets = config.master_secret()?;
        let revocations = opened.revocations(config);
        let (db, clock) = (opened.db, opened.clocks.clock);
        let (seal, policy) = (settings::seal(&secrets), settings::key_policy(config));
        let keys = KeyAdmin::open(db.clone(), clock.clone(), seal, policy).await?;
        Ok(Self { db, clock, keys, revocations })
    }

    async fn list(&self, json: bool) -> Result<String, AdminError> {
        let keys = self.keys.list().await?;
        Ok(if json {
            line(&keys.iter().map(as_json).collect())
        } else {
            keys.iter().map(described).collect()
        })
    }

    async fn retire(&self, kid: &str, json: bool) -> Result<String, AdminError> {
        let key = self.find(kid).await?;
        let (done, shown) = if key.state == KeyState::Active.as_str() {
            let next = self.keys.rotate().await?;
            (format!("{kid} gets a successor:\n{}", described(&next)), as_json(&next))
        } else if self.keys.cancel_next(kid).await? {
            (format!("removed {kid}; it has signed nothing\n"), json!({ "kid": kid }))
        } else {
            (described(&key), as_json(&key))
        };
        Ok(if json { line(&shown) } else { done })
    }

    /// Removes a key and, in the same unit of work, puts it on the blocklist.
    async fn revoke(&self, kid: &str, json: bool) -> Result<String, AdminError> {
        let unknown = || AdminError::NoSuchKey(kid.to_owned());
        self.find(kid).await?;
        let id = revocation_id_of_kid(kid).ok_or_else(unknown)?.into();
        let (life, now) = (self.keys.trusted_for(), self.clock.now());
        let (own, revocations, spare) =
            (kid.to_owned(), self.revocations.clone(), self.keys.generate_spare().await?);
        let removed = self.db.write(move |tx| {
            let removed = KeyAdmin::revoke(tx, &own, &spare, now)?;
            if removed.is_some() {
                revocations.revoke_for(tx, id, life, now)?;
            }
            Ok(removed)
        });
        let signing = removed.await?.ok_or_else(unknown)?.signing;
        Ok(if json {
            line(&json!({ "kid": kid, "signing": signing }))
        } else {
            format!("revoked {kid}; its tokens are rejected. {signing} signs now.\n")
        })
    }

    async fn find(&self, kid: &str) -> Result<KeyStatus, AdminError> {
        let keys = self.keys.list().await?;
        let found = keys.into_iter().find(|key| key.kid == kid);
        found.ok_or_else(|| AdminError::NoSuchKey(kid.to_owned()))
    }
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn as_json(key: &KeyStatus) -> Value {
    let KeyStatus { kid, alg, state, created_at, until } = key;
    json!({ "kid": kid, "alg": alg, "state": state, "created_at": created_at, "until": until })
}

fn described(key: &KeyStatus) -> String {
    let KeyStatus { kid, alg, state, until, .. } = key;
    let mut text = format!("{kid}  {alg}  {state}");
    let _ = match (state.as_str(), until) {
        ("next", Some(until)) => write!(text, ", signs from {until}"),
        ("active", Some(until)) => write!(text, ", its successor is published {until}"),
        (_, Some(until)) => write!(text, ", removed {until}"),
        (_, None) => Ok(()),
    };
    text + "\n"
}
