//! `doorward user …`: administers accounts, while the service runs or not.

mod change;
mod grants;
mod invitations;
mod output;
mod password;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AdminError, Opened, block_on};
use crate::accounts::admin::{AccountAdmin, Announcement};
use crate::accounts::{AccountDetails, Email};
use crate::app::{self, settings};
use crate::config::Config;
use crate::revocations::sync::SyncMode;

use change::{add, delete};
use grants::{ClaimsCommand, RolesCommand, claims, roles};
use invitations::{invite, mail_reset, mark_verified};
use output::{list, outcome_text, show};
use password::{hash, read_password};

/// The subcommands of `doorward user`.
#[derive(Subcommand)]
pub enum UserCommand {
    /// List accounts, the oldest first
    #[command(after_help = "Example, the hundred after the last page:\n  doorward user list \
                            --after 019ab3e1-0b52-7e90-a2c6-5d41f7b80a93")]
    List {
        /// List accounts after this one, by its id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Disabled accounts only
        #[arg(long)]
        disabled: bool,
        /// Maximum number of accounts to print
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one account
    #[command(after_help = "Example: doorward user show ada@example.com")]
    Show(User),
    /// Add an account
    ///
    /// The password is typed at the terminal, or read from the first line of a file; never from an
    /// argument, which other users of this machine could read.
    #[command(after_help = "Example: doorward user add ada@example.com \
                            --password-file /run/secrets/ada")]
    Add {
        /// The e-mail address
        email: String,
        /// The file with the password in its first line; `-` for standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// A role of the account
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// Its address counts as proven
        #[arg(long)]
        verified: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add an account without a password; its owner sets one by a link
    ///
    /// The link is mailed and printed. It is valid once, and for 7 days; then the account is
    /// deleted.
    #[command(after_help = "Example: doorward user invite ada@example.com --role editor")]
    Invite {
        /// The e-mail address
        email: String,
        /// A role of the account
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Mail a link by which the owner sets a new password; to an invited account, its invitation
    ///
    /// The present password stays valid until then. An address gets at most three such messages an
    /// hour.
    #[command(after_help = "Example: doorward user mail-reset ada@example.com")]
    MailReset(User),
    /// Record that the address of an account is proven
    #[command(after_help = "Example: doorward user mark-verified ada@example.com")]
    MarkVerified(User),
    /// Set, add or remove the roles of an account
    #[command(subcommand)]
    Roles(RolesCommand),
    /// Set or clear the custom claims of an account
    #[command(subcommand)]
    Claims(ClaimsCommand),
    /// Delete an account permanently: its sessions and tokens end at once, on every node
    ///
    /// Its events (`doorward audit`) stay without addresses, for as long as events are kept. For an
    /// account that its owner has closed, give the id: the remains are deleted.
    #[command(after_help = "Example: doorward user delete ada@example.com --yes")]
    Delete {
        /// The account.
        #[command(flatten)]
        user: User,
        /// Skip the prompt
        #[arg(long)]
        yes: bool,
    },
    /// Disable an account: its sessions and tokens end at once, on every node, and logins are
    /// rejected
    #[command(after_help = "Example: doorward user disable ada@example.com")]
    Disable(User),
    /// Let a disabled account log in again
    #[command(after_help = "Example: doorward user enable ada@example.com")]
    Enable(User),
    /// End every session of an account and revoke its tokens
    #[command(after_help = "Example: doorward user end-sessions ada@example.com")]
    EndSessions(User),
    /// Remove every second factor and recovery code of an account, and end every session
    ///
    /// For an owner who has lost all of them: the password alone logs in then. Make sure that it is
    /// the owner who asks.
    #[command(after_help = "Example: doorward user reset-factors ada@example.com")]
    ResetFactors(User),
    /// Set another e-mail address and end every session
    ///
    /// The new address is not proven by this. It also restores an address that somebody else has
    /// changed.
    #[command(after_help = "Example: doorward user set-email ada@example.com ada@example.org")]
    SetEmail {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The new e-mail address
        email: String,
    },
    /// Set a new password and end every session
    ///
    /// It is typed at the terminal, or read from the first line of a file; never from an argument,
    /// which other users of this machine could read.
    #[command(after_help = "Example: doorward user set-password ada@example.com \
                            --password-file /run/secrets/ada")]
    SetPassword {
        /// The account.
        #[command(flatten)]
        user: User,
        /// The file with the password in its first line; `-` for standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

/// The account that a command concerns.
#[derive(Args)]
pub struct User {
    /// The account's e-mail address or id
    user: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command and returns the text to print.
///
/// # Errors
/// [`AdminError`].
pub fn user(config: &Config, command: &UserCommand) -> Result<String, AdminError> {
    block_on(async {
        match command {
            UserCommand::List { after, disabled, limit, json } => {
                let admin = open_read_only(config).await?;
                list(&admin, after.as_deref(), *disabled, *limit, *json).await
            }
            UserCommand::Show(user) => show(&open_read_only(config).await?, user).await,
            UserCommand::Add { email, password_file, role, verified, json } => {
                add(config, email, password_file.as_deref(), role, *verified, *json).await
            }
            UserCommand::Invite { email, role, json } => invite(config, email, role, *json).await,
            UserCommand::MailReset(user) => mail_reset(config, user).await,
            UserCommand::MarkVerified(user) => mark_verified(config, user).await,
            UserCommand::Roles(command) => roles(config, command).await,
            UserCommand::Claims(command) => claims(config, command).await,
            UserCommand::Delete { user, yes } => delete(config, user, *yes).await,
            UserCommand::Disable(user) => {
                let (admin, account) = of(config, user).await?;
                let done = admin.disable(account.id).await?;
                Ok(outcome_text(user, &account, done, "disabled", "it was disabled already"))
            }
            UserCommand::Enable(user) => {
                let (admin, account) = of(config, user).await?;
                let done = admin.enable(account.id).await?;
                Ok(outcome_text(user, &account, done, "enabled", "it was not disabled"))
            }
            UserCommand::EndSessions(user) => {
                let (admin, account) = of(config, user).await?;
                let done = admin.end_sessions(account.id).await?;
                Ok(outcome_text(user, &account, done, "logged out", "it had no live session"))
            }
            UserCommand::ResetFactors(user) => {
                let (admin, account) = of(config, user).await?;
                let done = admin.reset_factors(account.id).await?;
                let (did, otherwise) = ("removed the second factors of", "it had no second factor");
                Ok(outcome_text(user, &account, done, did, otherwise))
            }
            UserCommand::SetEmail { user, email } => {
                let email = Email::parse(email)?;
                let (admin, account) = of(config, user).await?;
                let done = admin.set_email(account.id, email.clone()).await?;
                let done = done.ok_or_else(|| AdminError::EmailTaken(email.to_string()))?;
                Ok(outcome_text(user, &account, done, "set the address of", "it has been closed"))
            }
            UserCommand::SetPassword { user, password_file } => {
                let (admin, account) = of(config, user).await?;
                let password = read_password(password_file.as_deref())?;
                let hash = hash(config, &account.email, &password).await?;
                let done = admin.set_password(account.id, hash).await?;
                Ok(outcome_text(user, &account, done, "set the password of", "it has been closed"))
            }
        }
    })
}

pub(super) async fn open(config: &Config) -> Result<AccountAdmin, AdminError> {
    accounts(config, Opened::new(config).await?)
}

pub(super) async fn open_read_only(config: &Config) -> Result<AccountAdmin, AdminError> {
    accounts(config, Opened::read_only(config).await?)
}

pub(super) fn accounts(config: &Config, opened: Opened) -> Result<AccountAdmin, AdminError> {
    let revocations = opened.revocations(config);
    let Opened { db, clocks } = opened;
    let mail = app::mail::for_notices(config, db.clone(), clocks.clock.clone())?;
    let announcement = match settings::sync_mode(config) {
        SyncMode::Listen => Announcement::AtCommit,
        SyncMode::Poll => Announcement::BySync,
    };
    let limit = settings::token_size_limit(config, &config.issuer(config.listen));
    let admin = AccountAdmin::new(db, clocks.clock, revocations, announcement, limit);
    Ok(admin.with_mail(mail))
}

async fn of(config: &Config, user: &User) -> Result<(AccountAdmin, AccountDetails), AdminError> {
    let admin = open(config).await?;
    let account = find(&admin, &user.user).await?;
    Ok((admin, account))
}

pub(super) async fn find(admin: &AccountAdmin, name: &str) -> Result<AccountDetails, AdminError> {
    let found = admin.find(name).await?;
    found.ok_or_else(|| AdminError::NoSuchUser(name.to_owned()))
}
