//! `doorward user …`: administers accounts, while the service runs or not.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Opened, OperateError};
use crate::accounts::admin::{AccountAdmin, AdminOutcome};
use crate::accounts::{Account, AccountDetails, Email};
use crate::app::settings;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::database::Id;
use crate::passwords::{Hasher, HasherSettings, Password, PasswordHash};

/// The largest password file that is read, in bytes: more than the longest password.
const MAX_PASSWORD_FILE: u64 = 4096;

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
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
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
/// [`OperateError`].
pub fn user(config: &Config, command: &UserCommand) -> Result<String, OperateError> {
    actix_web::rt::System::new().block_on(async {
        match command {
            UserCommand::List { after, limit, json } => {
                list(&open_read_only(config).await?, after.as_deref(), *limit, *json).await
            }
            UserCommand::Show(user) => show(&open_read_only(config).await?, user).await,
            UserCommand::Add { email, password_file, json } => {
                add(config, email, password_file.as_deref(), *json).await
            }
            UserCommand::Delete { user, yes } => delete(config, user, *yes).await,
            UserCommand::Disable(user) => {
                let (operator, person) = of(config, user).await?;
                let done = operator.disable(person.id).await?;
                Ok(said(user, &person, done, "disabled", "it was disabled already"))
            }
            UserCommand::Enable(user) => {
                let (operator, person) = of(config, user).await?;
                let done = operator.enable(person.id).await?;
                Ok(said(user, &person, done, "enabled", "it was not disabled"))
            }
            UserCommand::EndSessions(user) => {
                let (operator, person) = of(config, user).await?;
                let done = operator.end_sessions(person.id).await?;
                Ok(said(user, &person, done, "logged out", "it had no live session"))
            }
            UserCommand::SetPassword { user, password_file } => {
                let (operator, person) = of(config, user).await?;
                let password = read_password(password_file.as_deref())?;
                let hash = hash(config, &person.email, &password).await?;
                let done = operator.set_password(person.id, hash).await?;
                Ok(said(user, &person, done, "set the password of", "it has been closed"))
            }
        }
    })
}

pub(super) async fn open(config: &Config) -> Result<AccountAdmin, OperateError> {
    accounts(config, Opened::new(config).await?).await
}

pub(super) async fn open_read_only(config: &Config) -> Result<AccountAdmin, OperateError> {
    accounts(config, Opened::read_only(config).await?).await
}

pub(super) async fn accounts(
    config: &Config,
    opened: Opened,
) -> Result<AccountAdmin, OperateError> {
    let revocations = opened.revocations(config).await?;
    let Opened { db, clocks } = opened;
    Ok(AccountAdmin::new(db, clocks.clock, revocations, settings::sync_mode(config)))
}

async fn of(config: &Config, user: &User) -> Result<(AccountAdmin, AccountDetails), OperateError> {
    let operator = open(config).await?;
    let person = find(&operator, &user.user).await?;
    Ok((operator, person))
}

pub(super) async fn find(
    operator: &AccountAdmin,
    name: &str,
) -> Result<AccountDetails, OperateError> {
    let found = operator.find(name).await?;
    found.ok_or_else(|| OperateError::NoSuchUser(name.to_owned()))
}

async fn list(
    operator: &AccountAdmin,
    after: Option<&str>,
    limit: u32,
    json: bool,
) -> Result<String, OperateError> {
    let unknown = |id: &str| OperateError::NoSuchUser(id.to_owned());
    let after = after.map(|id| Id::parse(id).ok_or_else(|| unknown(id))).transpose()?;
    let people = operator.list(after, limit).await?;
    if json {
        return Ok(format!("{}\n", people.iter().map(as_json).collect::<Value>()));
    }
    let mut lines = String::new();
    for AccountDetails { id, email, created_at, disabled_at, .. } in &people {
        let state = if disabled_at.is_some() { "  disabled" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{id}  {created_at}  {email}{state}");
    }
    Ok(lines)
}

async fn show(operator: &AccountAdmin, user: &User) -> Result<String, OperateError> {
    let person = find(operator, &user.user).await?;
    let sessions = operator.sessions_of(person.id).await?;
    if user.json {
        let mut shown = as_json(&person);
        shown["live_sessions"] = json!(sessions);
        return Ok(format!("{shown}\n"));
    }
    let moment = |at: Option<_>, never: &str| at.map_or(never.to_owned(), |at| format!("{at}"));
    Ok(format!(
        "id: {}\nemail: {}\nroles: {}\ncreated: {}\npassword changed: {}\nlast login: {}\n\
         disabled: {}\nlive sessions: {sessions}\n",
        person.id,
        person.email,
        person.roles.join(" "),
        person.created_at,
        person.password_changed_at,
        moment(person.last_login_at, "never"),
        moment(person.disabled_at, "no"),
    ))
}

async fn add(
    config: &Config,
    email: &str,
    password_file: Option<&Path>,
    json: bool,
) -> Result<String, OperateError> {
    let email = Email::parse(email)?;
    let operator = open(config).await?;
    let taken = || OperateError::EmailTaken(email.to_string());
    // Before the password is typed.
    if operator.find(email.as_str()).await?.is_some() {
        return Err(taken());
    }
    let password = read_password(password_file)?;
    let hash = hash(config, email.as_str(), &password).await?;
    let account = operator.add(email.clone(), hash).await?.ok_or_else(taken)?;
    let Account { id, email, created_at, .. } = account;
    Ok(if json {
        format!("{}\n", json!({ "id": id, "email": email, "created_at": created_at }))
    } else {
        format!("added {email}, {id}\n")
    })
}

async fn delete(config: &Config, user: &User, yes: bool) -> Result<String, OperateError> {
    let operator = open(config).await?;
    let unknown = || OperateError::NoSuchUser(user.user.clone());
    // A closed account has no address any more and is found only by id.
    let (id, name) = match operator.find(&user.user).await? {
        Some(AccountDetails { id, email, .. }) => (id, email),
        None => (Id::parse(&user.user).ok_or_else(unknown)?, user.user.clone()),
    };
    if !yes && !is_confirmed(&name)? {
        return Err(OperateError::NotConfirmed);
    }
    let AdminOutcome { changed, sessions_ended } = operator.delete(id).await?;
    if !changed {
        return Err(unknown());
    }
    Ok(if user.json {
        format!("{}\n", json!({ "id": id, "changed": changed, "sessions_ended": sessions_ended }))
    } else {
        format!("deleted {name}; sessions that ended: {sessions_ended}\n")
    })
}

/// Asks for confirmation at the terminal, if there is one.
fn is_confirmed(name: &str) -> Result<bool, OperateError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "Delete {name} permanently? Type yes: ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn said(
    user: &User,
    person: &AccountDetails,
    done: AdminOutcome,
    did: &str,
    otherwise: &str,
) -> String {
    let (AccountDetails { id, email, .. }, AdminOutcome { changed, sessions_ended }) =
        (person, done);
    if user.json {
        let said = json!({
            "id": id, "email": email, "changed": changed, "sessions_ended": sessions_ended
        });
        format!("{said}\n")
    } else if changed {
        format!("{did} {email}; sessions that ended: {sessions_ended}\n")
    } else {
        format!("{email}: {otherwise}\n")
    }
}

fn as_json(person: &AccountDetails) -> Value {
    json!({
        "id": person.id,
        "email": person.email,
        "roles": person.roles,
        "created_at": person.created_at,
        "password_changed_at": person.password_changed_at,
        "last_login_at": person.last_login_at,
        "disabled_at": person.disabled_at,
    })
}

/// The first line of the file, or a password typed twice at the terminal.
fn read_password(file: Option<&Path>) -> Result<Zeroizing<String>, OperateError> {
    let Some(file) = file else {
        if !io::stdin().is_terminal() {
            return Err(OperateError::NoPassword);
        }
        let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new);
        let password = ask("New password: ")?;
        if *password != *ask("Again: ")? {
            return Err(OperateError::PasswordsDiffer);
        }
        return Ok(password);
    };
    let mut text = Zeroizing::new(String::new());
    let failed = |cause| OperateError::PasswordFile { path: file.to_owned(), cause };
    if file == Path::new("-") {
        io::stdin().take(MAX_PASSWORD_FILE).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = fs::File::open(file).map_err(failed)?;
        config::refuse_open_to_all("--password-file", file, &opened.metadata().map_err(failed)?)?;
        opened.take(MAX_PASSWORD_FILE).read_to_string(&mut text).map_err(failed)?;
    }
    // Some editors put a byte order mark at the start of a file. Leading and trailing blanks are
    // part of the password.
    let line = text.trim_start_matches('\u{feff}').lines().next();
    Ok(Zeroizing::new(line.unwrap_or_default().to_owned()))
}

/// Checks the password against the policy and hashes it as the service does.
async fn hash(config: &Config, email: &str, password: &str) -> Result<PasswordHash, OperateError> {
    let password = Password::parse(password)?;
    let settings = HasherSettings { threads: 1, queue: 1, ..settings::hasher_settings(config) };
    let hasher = Hasher::start(settings, Clock::system())?;
    let personal = vec![email.to_owned()];
    hasher.check(settings::password_policy(config), password.clone(), personal).await??;
    Ok(hasher.hash(password).await?)
}
