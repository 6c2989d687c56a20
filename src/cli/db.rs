//! `doorward db`: the schema, copies and backups.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

pub(super) mod operations;

use crate::config::{self, Config};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use operations::{Backup, Compared, CopyRole, CopyStep, DataError, Progress, SchemaReport};

use super::print;

const AFTER_COPY: &str = "\
All data is in the target. Next:
- Start Doorward with DOORWARD_DATABASE_URL set to the target's URL.
- Give it the same master secret: DOORWARD_SECRET_FILE (beside SQLite, the file `secret` in the data
  directory). With it every session continues.
- Do not use the source any more: later writes there are not in the target.
";

const AFTER_BACKUP: &str = "\
The backup does not contain the master secret: keep that, too. To restore, stop Doorward on every
node, replace the database by the file (without the -wal and -shm files beside it), and run
`doorward db after-restore` before the next start.
";

const AFTER_RESTORE: &str = "\
Every user has to log in again; the next start generates a new signing key. Not undone by this:
accounts, passwords, which accounts are disabled or closed, and clients with their secrets are as of
the backup. Subscribers of /revocations reject the old tokens as soon as Doorward runs, other
services when their cached keys have expired (tokens.jwks_max_age).
";

/// `doorward db …`.
#[derive(Subcommand)]
pub enum DbCommand {
    /// Apply the pending migrations, also when database.migrate = false
    #[command(
        after_help = "Example: doorward db migrate --database-url postgres://doorward@db/doorward"
    )]
    Migrate,
    /// Check the database's schema without changing anything
    ///
    /// Reports migrations that are pending or unknown, and tables, columns, indexes and constraints
    /// that differ from the migrations: one line each, and exit status 1 if there are any.
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

/// The arguments of `doorward db copy`.
#[derive(Args)]
pub struct CopyArgs {
    /// The database to copy: `sqlite://PATH` or `postgres://…`
    #[arg(long, value_name = "URL")]
    from: String,
    /// The database to fill, which must be empty
    #[arg(long, value_name = "URL")]
    to: String,
    /// Only compare row counts and checksums of every table
    #[arg(long)]
    verify: bool,
}

/// A problem with the data, which has been printed.
#[derive(Debug, thiserror::Error)]
enum Found {
    #[error("the schema has problems; see the lines above")]
    Schema,
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
/// A [`ConfigError`](config::ConfigError), or the database error.
pub fn run(command: &DbCommand, config: &Config) -> Result<(), Box<dyn Error>> {
    match command {
        DbCommand::Migrate => print(&migrated(&operations::migrate(config).map_err(boxed)?)),
        DbCommand::Check => {
            let report = operations::check(config).map_err(boxed)?;
            print(&lines(&report))?;
            if report.is_good() { Ok(()) } else { Err(Found::Schema.into()) }
        }
        DbCommand::Copy(args) => copy(args),
        DbCommand::Backup { file, json } => {
            let done = operations::backup(&config.database()?, file)?;
            print(&if *json { serde_json::to_string(&done)? + "\n" } else { made(&done) })
        }
        DbCommand::Restored { .. } => Err(Found::Renamed.into()),
        DbCommand::AfterRestore { yes } => {
            if !yes && !confirmed()? {
                return Err(Found::Unconfirmed.into());
            }
            let done = operations::after_restore(config).map_err(boxed)?;
            let (sessions, keys) = (done.sessions, done.keys);
            print(&format!(
                "Sessions ended: {sessions}. Signing keys removed: {keys}.\n{AFTER_RESTORE}"
            ))
        }
    }
}

/// `main` recognises a configuration error by its type.
fn boxed(error: DataError) -> Box<dyn Error> {
    match error {
        DataError::Config(error) => error.into(),
        error => error.into(),
    }
}

fn made(Backup { file, bytes, rows, migration, drift }: &Backup) -> String {
    let rows: Vec<String> = rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
    let mut text = format!(
        "{}: {bytes} bytes, checked. Rows: {}. Last migration: {}.\n",
        file.display(),
        rows.join(", "),
        migration.as_deref().unwrap_or("none"),
    );
    for line in drift {
        let _ = writeln!(text, "drift: {line}");
    }
    text + AFTER_BACKUP
}

fn migrated(applied: &[String]) -> String {
    if applied.is_empty() {
        return String::from("Nothing to do: the schema is up to date.\n");
    }
    let mut text = String::new();
    for migration in applied {
        let _ = writeln!(text, "applied {migration}");
    }
    text
}

fn lines(report: &SchemaReport) -> String {
    let mut text = String::new();
    for migration in &report.pending {
        let _ = writeln!(text, "pending: migration {migration} (run `doorward db migrate`)");
    }
    for migration in &report.newer {
        let _ = writeln!(text, "unknown: migration {migration} (run the version that applied it)");
    }
    for line in &report.drift {
        let _ = writeln!(text, "drift: {line}");
    }
    if let Some(why) = &report.not_compared {
        let _ = writeln!(text, "not compared: {why}");
    }
    if report.is_good() {
        let applied = report.applied.len();
        let _ = writeln!(text, "The schema is up to date (migrations applied: {applied}).");
    }
    text
}

fn copy(args: &CopyArgs) -> Result<(), Box<dyn Error>> {
    let from = config::database_of("--from", &args.from)?;
    let to = config::database_of("--to", &args.to)?;
    let mut bar = Bar::new();
    let mut watch = |progress| bar.show(progress);
    let compared = if args.verify {
        operations::compare(&from, &to, &mut watch)?
    } else {
        operations::copy(&from, &to, &mut watch)?
    };
    bar.done();
    print(&table(&compared))?;
    match (compared.iter().all(Compared::is_equal), args.verify) {
        (true, true) => print("Both databases hold the same data.\n"),
        (true, false) => print(AFTER_COPY),
        (false, true) => Err(Found::Difference.into()),
        (false, false) => Err(Found::BadCopy.into()),
    }
}

fn table(compared: &[Compared]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 5]| {
        let [table, source, target, checksum, verdict] = cells;
        let _ = writeln!(text, "{table:<16}{source:>12}{target:>12}  {checksum:<36}{verdict}");
    };
    line(["table", "source", "target", "checksum", ""]);
    for Compared { table, source, target } in compared {
        let (checksum, verdict) = if source == target {
            (source.short(), "equal")
        } else {
            (format!("{} {}", source.short(), target.short()), "DIFFERENT")
        };
        let (source, target) = (source.rows.to_string(), target.rows.to_string());
        line([table, &source, &target, &checksum, verdict]);
    }
    text
}

/// The progress of a copy: a bar for a terminal, one line per table for a log.
struct Bar {
    bar: ProgressBar,
    shown: Option<(&'static str, CopyStep)>,
}

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg:<28} {bar:32} {pos}/{len}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // It draws on standard error, and nothing if that is not a terminal.
        Self { bar: ProgressBar::new(0).with_style(style), shown: None }
    }

    fn show(&mut self, progress: Progress) {
        let Progress { table, step, done, of } = progress;
        if self.shown != Some((table, step)) {
            self.shown = Some((table, step));
            let what = match step {
                CopyStep::Copy => format!("copy {table}"),
                CopyStep::Compare(CopyRole::Source) => format!("add up {table} in source"),
                CopyStep::Compare(CopyRole::Target) => format!("add up {table} in target"),
            };
            if self.bar.is_hidden() {
                let _ = writeln!(io::stderr(), "{what}: {of} rows");
            }
            self.bar.set_message(what);
            self.bar.set_length(of);
        }
        self.bar.set_position(done);
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// Whether the user confirms at the terminal.
fn confirmed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut stderr = io::stderr();
    write!(stderr, "This logs out every user. Has Doorward been stopped? Type yes to continue: ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
