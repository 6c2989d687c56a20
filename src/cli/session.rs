//! `doorward session …`: administers sessions, while the service runs or not.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;

use super::{AdminError, block_on, user};
use crate::config::{Config, one_line};
use crate::database::Id;
use crate::sessions::Session;

/// The subcommands of `doorward session`.
#[derive(Subcommand)]
pub enum SessionCommand {
    /// List the live sessions of an account, the most recently used first
    #[command(after_help = "Example: doorward session list --user ada@example.com")]
    List {
        /// The account's e-mail address or id
        #[arg(long, value_name = "EMAIL|ID")]
        user: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End sessions: their tokens are rejected at once, on every node
    ///
    /// Either one session by its id, or every session in which no second factor was proven.
    #[command(after_help = "Examples:\n  doorward session end \
                            019ab3e1-0b52-7e90-a2c6-5d41f7b80a93\n  doorward session end \
                            --without-factor --role admin")]
    End {
        /// The session's id
        #[arg(required_unless_present = "without_factor", conflicts_with = "without_factor")]
        id: Option<String>,
        /// End every session in which no second factor was proven
        #[arg(long)]
        without_factor: bool,
        /// Only of accounts with this role
        #[arg(long, requires = "without_factor")]
        role: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn session(config: &Config, command: &SessionCommand) -> Result<String, AdminError> {
    block_on(async {
        match command {
            SessionCommand::List { user, json } => {
                let admin = user::open_read_only(config).await?;
                let account = user::find(&admin, user).await?;
                let sessions = admin.list_sessions(account.id).await?;
                Ok(if *json {
                    format!("{}\n", json!(sessions))
                } else {
                    sessions.iter().map(described).collect()
                })
            }
            SessionCommand::End { id: None, role, json, .. } => {
                let admin = user::open(config).await?;
                let (accounts, sessions) =
                    admin.end_sessions_without_factor(role.as_deref()).await?;
                Ok(if *json {
                    format!("{}\n", json!({ "accounts": accounts, "sessions_ended": sessions }))
                } else {
                    format!("accounts: {accounts}; sessions that ended: {sessions}\n")
                })
            }
            SessionCommand::End { id: Some(id), json, .. } => {
                let unknown = || AdminError::NoSuchSession(id.clone());
                let session = Id::parse(id).ok_or_else(unknown)?;
                let admin = user::open(config).await?;
                let done = admin.end_session(session).await?;
                if !done.changed {
                    return Err(unknown());
                }
                Ok(if *json {
                    format!("{}\n", json!({ "id": session, "changed": true }))
                } else {
                    format!("ended {session}\n")
                })
            }
        }
    })
}

fn described(session: &Session) -> String {
    let Session { id, label, user_agent, address, last_seen_at, .. } = session;
    let mut line = format!("{id}  last seen {last_seen_at}");
    for part in [address, label, user_agent].into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = write!(line, "  {part}");
    }
    format!("{}\n", one_line(&line))
}
