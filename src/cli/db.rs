//! `doorward db`: the schema, copies and backups.

mod copy;
pub(super) mod operations;
mod report;

use std::error::Error;
use std::path::PathBuf;

use clap::Subcommand;

pub use copy::CopyArgs;

use super::{is_confirmed, print};
use crate::config::Config;
use copy::copy;
use report::{backup_summary, former_key, lines, migrated};

const AFTER_RESTORE: &str = "\
Every user has to log in again; the next start generates a new signing key. Not undone by this:
accounts, passwords, which accounts are disabled or closed, and clients with their secrets are as of
the backup. Subscribers of /revocations reject the old tokens as soon as Doorward runs, other
services when their cached keys have expired (tokens.jwks_max_age).
";

const AFTER_RESTORE_QUESTION: &str =
    "This logs out every user. Has Doorward been stopped? Type yes to continue:";

/// `doorward db …`.
#[derive(Subcommand)]
pub enum DbCommand {
    /// Apply the pending migrations, also when database.migrate = false
    #[command(
        after_help = "Example: doorward db migrate --database-url postgres://doorward@db/doorward"
    )]
    Migrate {
        /// Then update the keys of e-mail addresses, once every node runs this version (with SQLite
        /// every start does)
        #[arg(long)]
        email_keys: bool,
    },
    /// Check the database's schema without changing anything
    ///
    /// Reports migrations that are pending or unknown, tables, columns, indexes and constraints
    /// that differ from the migrations, and accounts with former e-mail keys: one line each, and
    /// exit status 1 if there are any.
    #[command(
        after_help = "Example: doorward db check --database-url postgres://doorward@db/doorward"
    )]
    Check,
    /// Copy all data into an empty database, or compare two databases
    ///
    /// Stop Doorward first. The source is locked against writes, and the target is filled in one
    /// transaction: an interrupted copy leaves it empty and can be repeated.
    #[command(
        after_help = "Example: doorward db copy --from sqlite://doorward-data/doorward.db --to \
                      postgres://doorward@db/doorward\n\nOther users of this machine can read a \
                      command line: give a password by libpq's PGPASSWORD or PGPASSFILE instead of \
                      in the URL."
    )]
    Copy(CopyArgs),
    /// Back up the SQLite database into a new file, also while Doorward runs
    ///
    /// The file is a consistent snapshot. It is checked before it gets its final name, and only
    /// this user can read it. Back up PostgreSQL with `pg_dump`.
    #[command(
        after_help = "Example: doorward db backup /var/backups/doorward-2026-11-25.db\n\nThe \
                            backup does not contain the master secret: keep that, too."
    )]
    Backup {
        /// The file to create, which must not exist
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// After restoring an older backup: end every session and remove the signing keys
    ///
    /// Run it before Doorward is started again. Otherwise sessions that were logged out after the
    /// backup would be live again, and access tokens of sessions that it does not know would be
    /// accepted. It logs out every user.
    #[command(after_help = "Example: doorward db after-restore --yes")]
    AfterRestore {
        /// Skip the prompt
        #[arg(long)]
        yes: bool,
    },
    /// The former name of `after-restore`
    #[command(hide = true)]
    Restored {
        /// Skip the prompt
        #[arg(long)]
        yes: bool,
    },
}

/// A problem with the data, which has been printed.
#[derive(Debug, thiserror::Error)]
enum DataProblem {
    #[error("the schema has problems; see the lines above for the remedy of each")]
    Schema,
    #[error("accounts have former e-mail keys; see the lines above for the remedy of each")]
    EmailKeys,
    #[error("the two databases differ; see the table above")]
    Difference,
    #[error("the copy differs from the source and was undone; see the table above, and try again")]
    BadCopy,
    #[error(
        "not confirmed; nothing was changed. Every user will be logged out: pass --yes to skip \
             the prompt"
    )]
    Unconfirmed,
    #[error(
        "`doorward db restored` is called `doorward db after-restore` now; nothing was changed"
    )]
    Renamed,
}

/// Runs a command and prints its result.
///
/// # Errors
/// An [`AdminError`](super::AdminError), or the problem that was printed.
pub fn run(command: &DbCommand, config: &Config) -> Result<(), Box<dyn Error>> {
    match command {
        DbCommand::Migrate { email_keys } => {
            print(&migrated(&operations::migrate(config)?))?;
            if *email_keys {
                let rewritten = operations::rewrite_email_keys(config)?;
                print(&format!("E-mail keys rewritten: {rewritten}.\n"))?;
            }
            Ok(())
        }
        DbCommand::Check => {
            let report = operations::check(config)?;
            print(&lines(&report))?;
            if !report.is_good() {
                return Err(DataProblem::Schema.into());
            }
            let former = operations::former_email_keys(config)?;
            print(&former.iter().map(former_key).collect::<String>())?;
            if former.is_empty() { Ok(()) } else { Err(DataProblem::EmailKeys.into()) }
        }
        DbCommand::Copy(args) => copy(args),
        DbCommand::Backup { file, json } => {
            let done = operations::backup(&config.database()?, file)?;
            print(&if *json { serde_json::to_string(&done)? + "\n" } else { backup_summary(&done) })
        }
        DbCommand::Restored { .. } => Err(DataProblem::Renamed.into()),
        DbCommand::AfterRestore { yes } => {
            if !yes && !is_confirmed(AFTER_RESTORE_QUESTION)? {
                return Err(DataProblem::Unconfirmed.into());
            }
            let done = operations::after_restore(config)?;
            let (sessions, keys) = (done.sessions, done.keys);
            print(&format!(
                "Sessions ended: {sessions}. Signing keys removed: {keys}.\n{AFTER_RESTORE}"
            ))
        }
    }
}
