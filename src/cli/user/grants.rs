//! Roles and custom claims.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{User, of};
use crate::accounts::admin::{AccountChangeError, GrantChange, GrantOutcome, LiveSessions};
use crate::accounts::{CustomClaims, RoleSet};
use crate::cli::AdminError;
use crate::config::Config;

/// The subcommands of `doorward user roles`.
#[derive(Subcommand)]
pub enum RolesCommand {
    /// Replace the roles of an account; without a role, take all of them away
    #[command(after_help = "Example: doorward user roles set ada@example.com editor auditor")]
    Set {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The roles
        roles: Vec<String>,
        /// The sessions.
        #[command(flatten)]
        sessions: KeepSessions,
    },
    /// Grant roles to an account: its tokens carry them after the next refresh
    #[command(after_help = "Example: doorward user roles add ada@example.com editor")]
    Add {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The roles
        #[arg(required = true)]
        roles: Vec<String>,
    },
    /// Take roles from an account: its sessions end and its tokens are revoked, on every node
    #[command(after_help = "Example: doorward user roles remove ada@example.com editor")]
    Remove {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The roles
        #[arg(required = true)]
        roles: Vec<String>,
        /// The sessions.
        #[command(flatten)]
        sessions: KeepSessions,
    },
}

/// The subcommands of `doorward user claims`.
#[derive(Subcommand)]
pub enum ClaimsCommand {
    /// Replace the custom claims of an account, which tokens carry as `ext`
    ///
    /// When a claim changes or is missing then, its sessions end and its tokens are revoked.
    #[command(
        after_help = "Example: doorward user claims set ada@example.com '{\"plan\":\"pro\"}'"
    )]
    Set {
        /// The account.
        #[command(flatten)]
        user: User,
        /// A JSON object
        claims: String,
        /// The sessions.
        #[command(flatten)]
        sessions: KeepSessions,
    },
    /// Remove every custom claim of an account: its sessions end and its tokens are revoked
    #[command(after_help = "Example: doorward user claims clear ada@example.com")]
    Clear {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The sessions.
        #[command(flatten)]
        sessions: KeepSessions,
    },
}

/// The effect on live sessions.
#[derive(Args)]
pub struct KeepSessions {
    /// Let sessions continue: access tokens keep the old roles and claims until they expire
    #[arg(long)]
    keep_sessions: bool,
}

impl KeepSessions {
    const fn live(&self) -> LiveSessions {
        if self.keep_sessions { LiveSessions::Keep } else { LiveSessions::End }
    }
}

pub(super) async fn roles(config: &Config, command: &RolesCommand) -> Result<String, AdminError> {
    let (user, change, live) = match command {
        RolesCommand::Set { user, roles, sessions } => {
            (user, GrantChange::SetRoles(RoleSet::parse(roles)?), sessions.live())
        }
        RolesCommand::Add { user, roles } => {
            (user, GrantChange::AddRoles(RoleSet::parse(roles)?), LiveSessions::Keep)
        }
        RolesCommand::Remove { user, roles, sessions } => {
            (user, GrantChange::RemoveRoles(RoleSet::parse(roles)?), sessions.live())
        }
    };
    change_grants(config, user, change, live, "roles").await
}

pub(super) async fn claims(config: &Config, command: &ClaimsCommand) -> Result<String, AdminError> {
    let (user, claims, sessions) = match command {
        ClaimsCommand::Set { user, claims, sessions } => {
            (user, CustomClaims::parse(claims)?, sessions)
        }
        ClaimsCommand::Clear { user, sessions } => (user, CustomClaims::default(), sessions),
    };
    change_grants(config, user, GrantChange::SetClaims(claims), sessions.live(), "claims").await
}

async fn change_grants(
    config: &Config,
    user: &User,
    change: GrantChange,
    live: LiveSessions,
    subject: &str,
) -> Result<String, AdminError> {
    let (admin, account) = of(config, user).await?;
    let changed = admin.change_grants(account.id, change, live).await;
    let GrantOutcome { outcome, is_taken_away } = changed.map_err(|error| refused(error, user))?;
    let email = &account.email;
    if user.json {
        let said = json!({
            "id": account.id,
            "email": email,
            "changed": outcome.changed,
            "sessions_ended": outcome.sessions_ended,
        });
        return Ok(format!("{said}\n"));
    }
    Ok(match (outcome.changed, is_taken_away) {
        (false, _) => format!("{email}: its {subject} are the same already\n"),
        (true, false) => {
            format!("changed the {subject} of {email}; tokens carry them after the next refresh\n")
        }
        (true, true) if live == LiveSessions::Keep => format!(
            "changed the {subject} of {email}; its sessions continue, and access tokens keep the old \
             ones until they expire, {} at most\n",
            minutes(config.tokens.lifetime)
        ),
        (true, true) => format!(
            "changed the {subject} of {email}; sessions that ended: {}\n",
            outcome.sessions_ended
        ),
    })
}

pub(super) fn refused(error: AccountChangeError, user: &User) -> AdminError {
    match error {
        // A command expects no version, and withdraws no proof.
        AccountChangeError::NoSuchUser
        | AccountChangeError::OtherVersion
        | AccountChangeError::ProofStays => AdminError::NoSuchUser(user.user.clone()),
        AccountChangeError::Taken => AdminError::EmailTaken(user.user.clone()),
        AccountChangeError::Roles(error) => error.into(),
        AccountChangeError::TooLong(error) => error.into(),
        AccountChangeError::Store(error) => error.into(),
    }
}

fn minutes(lifetime: std::time::Duration) -> String {
    format!("{} min", lifetime.as_secs().div_ceil(60))
}
