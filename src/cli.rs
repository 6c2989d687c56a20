//! The commands of an operator, run while the service is running or not: one module for
//! each first word after `doorward`.

pub mod audit;
pub mod client;
pub mod db;
pub mod doctor;
pub mod hash;
pub mod key;
pub mod session;
pub mod user;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::accounts::InvalidEmail;
use crate::app::settings::{one_connection, revocation_policy};
use crate::clients::{AddError, Clients, InvalidClient};
use crate::config::{Config, ConfigError};
use crate::database::time::CommandClocks;
use crate::database::{Database, OpenError, StoreError};
use crate::keys::KeysError;
use crate::passwords::{Overloaded, PasswordTooLong, WeakPassword};
use crate::revocations::Revocations;

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
    /// An option that is a command of its own now.
    #[error("`doorward key retire --now` is called `doorward key revoke` now; nothing was changed")]
    RetireNow,
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
        cause: io::Error,
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
    System(#[from] io::Error),
}

impl From<AddError> for OperateError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(error) => error.into(),
            AddError::Store(error) => error.into(),
        }
    }
}

/// The database of a command, and the time there.
#[derive(Clone)]
struct Opened {
    db: Database,
    clocks: CommandClocks,
}

impl Opened {
    /// For a command that changes something.
    async fn new(config: &Config) -> Result<Self, OperateError> {
        Self::at(Database::open_existing(&one_connection(config)?)?).await
    }

    /// For a command that only reads.
    async fn read_only(config: &Config) -> Result<Self, OperateError> {
        Self::at(Database::open_read_only(&one_connection(config)?)?).await
    }

    async fn at(db: Database) -> Result<Self, OperateError> {
        let clocks = db.clocks().await?;
        warn_if_behind(&clocks);
        Ok(Self { db, clocks })
    }

    fn clients(self) -> Clients {
        Clients::new(self.db, self.clocks.clock)
    }

    /// How stale its own copy of the list may be does not matter to a command, which only adds to it.
    async fn revocations(&self, config: &Config) -> Result<Revocations, OperateError> {
        let CommandClocks { clock, expiry_clock, .. } = self.clocks.clone();
        let policy = revocation_policy(config);
        let revocations = Revocations::load(self.db.clone(), clock, policy).await?;
        Ok(revocations.with_expiry_clock(expiry_clock))
    }
}

/// Says on standard error that this machine's clock may be wrong.
fn warn_if_behind(clocks: &CommandClocks) {
    if let Some(newest) = clocks.ahead {
        // Nobody may be there to read it.
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
    // A reader that has seen enough (`| head`) is no failure.
    let printed = printed.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    });
    Ok(printed?)
}
