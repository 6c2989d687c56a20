//! Commands for operators, usable while the service runs or not: one module for each subcommand of
//! `doorward`.

pub mod audit;
pub mod client;
pub mod db;
pub mod doctor;
pub mod hash;
pub mod key;
pub mod mail;
pub mod session;
pub mod user;

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use nix::unistd::{User, getuid};

use crate::accounts::{InvalidClaims, InvalidEmail, InvalidRoles};
use crate::app::MailError;
use crate::app::settings::{client_policy, one_connection, revocation_policy};
use crate::clients::{AddError, Clients, InvalidClient, ProtectedClient};
use crate::config::{Config, ConfigError};
use crate::database::time::CommandClocks;
use crate::database::{Database, OpenError, StoreError};
use crate::keys::KeysError;
use crate::mail::transport::SendError;
use crate::passwords::{Overloaded, PasswordTooLong, WeakPassword};
use crate::revocations::Revocations;
use crate::tokens::TokenTooLong;

/// Why a command failed, wholly or partly.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A setting or an argument is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client's description is invalid.
    #[error("{0}; correct the argument and run this again")]
    Invalid(#[from] InvalidClient),
    /// Never returned to a command: only requests over HTTP are refused.
    #[error(transparent)]
    Protected(ProtectedClient),
    /// No such client.
    #[error("the client `{0}` does not exist; `doorward client list` shows the ids")]
    NoSuchClient(String),
    /// No such signing key.
    #[error("the signing key `{0}` does not exist; `doorward key list` shows the existing ones")]
    NoSuchKey(String),
    /// An option that has become a command.
    #[error("`doorward key retire --now` is called `doorward key revoke` now; nothing was changed")]
    RetireNow,
    /// No such account.
    #[error("the account `{0}` does not exist; `doorward user list` shows the existing ones")]
    NoSuchUser(String),
    /// No such session.
    #[error(
        "the live session `{0}` does not exist; `doorward session list --user …` shows those of an \
         account"
    )]
    NoSuchSession(String),
    /// The e-mail address is malformed.
    #[error("{0}; nothing was done")]
    Email(#[from] InvalidEmail),
    /// The roles are invalid.
    #[error("{0}; nothing was changed")]
    Roles(#[from] InvalidRoles),
    /// The custom claims are invalid.
    #[error("{0}; nothing was changed")]
    Claims(#[from] InvalidClaims),
    /// Access tokens would be too long.
    #[error(
        "{0}; nothing was changed. Use fewer or shorter roles, claims or scopes, or raise the setting"
    )]
    TokenTooLong(#[from] TokenTooLong),
    /// An account with this address exists.
    #[error("there is an account `{0}` already; `doorward user show` shows it")]
    EmailTaken(String),
    /// The owner of this address is invited already.
    #[error("`{0}` is invited already; `doorward user mail-reset` mails the link again")]
    Invited(String),
    /// The link of an invitation would lead nowhere.
    #[error(
        "mail is off, and so is the page that the link leads to; set email.url, or \
         accounts.registration to `invite`"
    )]
    InviteOff,
    /// No enabled account has this name.
    #[error(
        "`{0}` gets no message: it is disabled or closed, or its invitation has expired; \
             `doorward user show` shows it"
    )]
    NotMailable(String),
    /// Too many messages.
    #[error(
        "`{0}` got three messages of operators within an hour; nothing was sent, try again later"
    )]
    TooMuchMail(String),
    /// Too many messages wait to be sent.
    #[error(
        "too many messages wait to be sent; nothing was sent. `doorward doctor` tells why they \
         wait; or raise email.max_rows"
    )]
    MailFull,
    /// The deletion was not confirmed.
    #[error("not confirmed; nothing was deleted. Pass --yes to skip the prompt")]
    NotConfirmed,
    /// The point in time is malformed.
    #[error(
        "--since: `{0}` is neither a duration nor a point in time; write it as in 7d, 90m, 2026-11-24 \
         or 2026-11-24T09:30:00Z"
    )]
    Since(String),
    /// No password was given.
    #[error(
        "no password was given; run this in a terminal, or name a file with --password-file (`-` is \
         standard input)"
    )]
    NoPassword,
    /// The two passwords typed differ.
    #[error("the two passwords differ; nothing was changed, try again")]
    PasswordsDiffer,
    /// The password file cannot be read.
    #[error("{}: it cannot be read: {cause}; name a file that this user can read", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        cause: io::Error,
    },
    /// The password is too long.
    #[error("{0} Nothing was changed; choose another password")]
    TooLong(#[from] PasswordTooLong),
    /// The password is too easy to guess.
    #[error("{0} Nothing was changed; choose another password")]
    Weak(#[from] WeakPassword),
    /// The password was not hashed in time.
    #[error("{0}; nothing was changed, try again")]
    Overloaded(#[from] Overloaded),
    /// The signing keys are unusable.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The database is unusable.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The database was opened and then did not answer.
    #[error("{0}; retry the command to complete it")]
    Store(#[from] StoreError),
    /// Mail is off.
    #[error("mail is off; set email.url")]
    MailOff,
    /// No such message.
    #[error("the message `{0}` does not exist; name one of these: {1}")]
    NoSuchMessage(String, String),
    /// Mail cannot be set up.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The mail server did not accept a message.
    #[error("email.url: {0}; correct the setting, or see the mail server's log")]
    NotSent(#[from] SendError),
    /// The system provided no thread, or the terminal does not answer.
    #[error("cannot start: {0}; check the limits on threads, memory and open files")]
    System(#[from] io::Error),
}

impl From<AddError> for AdminError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(error) => error.into(),
            AddError::TooLong(error) => error.into(),
            AddError::Protected(error) => Self::Protected(error),
            AddError::Store(error) => error.into(),
        }
    }
}

/// The open database of a command, and its clocks.
#[derive(Clone)]
struct Opened {
    db: Database,
    clocks: CommandClocks,
}

impl Opened {
    /// Opens the database for a command that writes.
    async fn new(config: &Config) -> Result<Self, AdminError> {
        let db = Database::open_existing(&one_connection(config)?)?;
        Ok(Self::at(db.with_actor(&actor())).await?)
    }

    /// Opens the database for a command that only reads.
    async fn read_only(config: &Config) -> Result<Self, AdminError> {
        Ok(Self::at(Database::open_read_only(&one_connection(config)?)?).await?)
    }

    async fn at(db: Database) -> Result<Self, StoreError> {
        let clocks = db.clocks().await?;
        warn_if_behind(&clocks);
        Ok(Self { db, clocks })
    }

    fn clients(self, config: &Config) -> Clients {
        let policy = client_policy(config, &config.issuer(config.listen));
        Clients::new(self.db, self.clocks.clock, policy)
    }

    /// A command adds to the blocklist at most.
    fn revocations(&self, config: &Config) -> Revocations {
        let CommandClocks { clock, expiry_clock, .. } = self.clocks.clone();
        Revocations::without_list(self.db.clone(), clock, expiry_clock, revocation_policy(config))
    }
}

/// Runs a command's asynchronous part on this thread.
fn block_on<T, E: From<io::Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Whether the user confirms at the terminal; false without one.
fn is_confirmed(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{question} ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// The operating-system user who runs the command, as the audit trail names it.
fn actor() -> String {
    let uid = getuid();
    match User::from_uid(uid) {
        Ok(Some(user)) => format!("os:{}", user.name),
        // A user without an entry, as in a container.
        Ok(None) | Err(_) => format!("os:{uid}"),
    }
}

/// Warns on standard error that this machine's clock may be wrong.
fn warn_if_behind(clocks: &CommandClocks) {
    if let Some(newest) = clocks.ahead {
        // Standard error may be closed.
        let _ = writeln!(
            io::stderr(),
            "doorward: the newest moment in the database is {newest}, ahead of this machine's clock \
             ({}); set the clock if it is wrong",
            clocks.clock.now()
        );
    }
}

/// Prints to standard output.
///
/// # Errors
/// When it cannot be written; a reader that has closed the pipe is not an error.
pub fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let printed = io::stdout().write_all(text.as_bytes());
    // A reader that has read enough (`| head`) is not an error.
    let printed = printed.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    });
    Ok(printed?)
}
