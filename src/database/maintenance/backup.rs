//! A consistent copy of the SQLite file, made while the service runs.
//!
//! `VACUUM INTO` reads in one transaction: the copy is a snapshot, and nothing waits for it. It is
//! written under a temporary name, synced, opened and checked; only then does it get its final
//! name, which never replaces another file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::drift;
use super::migrations::MIGRATIONS_TABLE;
use crate::database::connection::Manager;
use crate::database::file_identity::companion_file;
use crate::database::{AnyConnection, DatabaseUrl, OpenError};
use crate::secret::random_bytes;

/// The result of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct Backup {
    /// Its path.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The rows of every table in it.
    pub rows: BTreeMap<String, i64>,
    /// The last migration applied to it.
    pub migration: Option<String>,
    /// The drift of its schema, which is also that of the database itself: one line per difference.
    pub drift: Vec<String>,
}

/// Why a backup failed; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// PostgreSQL has its own tool.
    #[error(
        "{0} is a PostgreSQL database, and this backs up SQLite; use PostgreSQL's own tool: `pg_dump \
         --format=custom --file=FILE` and the database's URL"
    )]
    Postgres(String),
    /// The database is unusable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file exists.
    #[error("{} exists already and was left unchanged; name another file", .0.display())]
    Exists(PathBuf),
    /// Files next to the target would become part of the backup.
    #[error(
        "{} there belong to an earlier database of the name {}, and SQLite would read them as part \
         of the backup; move them away, or name another file",
        names(files), file.display()
    )]
    LogBeside {
        /// The file.
        file: PathBuf,
        /// SQLite's files next to it.
        files: Vec<PathBuf>,
    },
    /// The file cannot be created.
    #[error(
        "{} cannot be written: {cause}; name a file in a directory that this user can write to", 
        file.display()
    )]
    File {
        /// The file.
        file: PathBuf,
        /// The I/O error.
        cause: io::Error,
    },
    /// SQLite could not copy.
    #[error("the database cannot be copied: {0}; free disk space if there is none, then try again")]
    Copy(diesel::result::Error),
    /// The copy failed its check.
    #[error(
        "the copy is damaged ({0}) and was removed; check the database itself with `PRAGMA \
         integrity_check`, and the disk, before you delete the last good backup"
    )]
    Bad(String),
}

/// Backs up a SQLite database into a new file that only this user can read.
///
/// # Errors
/// [`BackupError`]; then the file does not exist.
pub fn backup(url: &DatabaseUrl, file: &Path) -> Result<Backup, BackupError> {
    let DatabaseUrl::Sqlite(_) = url else {
        return Err(BackupError::Postgres(url.named()));
    };
    let failed = |cause| BackupError::File { file: file.to_owned(), cause };
    if file.try_exists().map_err(failed)? {
        return Err(BackupError::Exists(file.to_owned()));
    }
    refuse_log_beside(file)?;
    let mut source = Manager::without_timeouts(url).for_inspection().connect_existing()?;
    let unfinished = Unfinished::next_to(file).map_err(failed)?;
    diesel::sql_query("VACUUM INTO ?")
        .bind::<Text, _>(unfinished.0.to_string_lossy())
        .execute(&mut source)
        .map_err(BackupError::Copy)?;
    let written = File::open(&unfinished.0).map_err(failed)?;
    written.sync_all().map_err(failed)?;
    let bytes = written.metadata().map_err(failed)?.len();
    let (rows, schema) = verify_contents(&unfinished.0)?;
    refuse_log_beside(file)?;
    unfinished.persist_as(file).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
        _ => failed(cause),
    })?;
    let drift = schema.drift.into_iter().chain(schema.not_compared).collect();
    let migration = schema.applied.last().or(schema.newer.last()).cloned();
    Ok(Backup { file: file.to_owned(), bytes, rows, migration, drift })
}

/// Rejects a target with SQLite's files next to it: SQLite applies a log to any database of the
/// same name, also the log of an earlier one.
fn refuse_log_beside(file: &Path) -> Result<(), BackupError> {
    let all = ["-wal", "-shm", "-journal"].map(|ending| companion_file(file, ending));
    let files: Vec<PathBuf> =
        all.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect();
    if files.is_empty() {
        return Ok(());
    }
    Err(BackupError::LogBeside { file: file.to_owned(), files })
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

const TABLES: &str = "SELECT name FROM sqlite_schema \
                      WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";

type Contents = (BTreeMap<String, i64>, drift::SchemaReport);

/// Reads every page and every table of the copy.
fn verify_contents(file: &Path) -> Result<Contents, BackupError> {
    let bad = |error: &dyn ToString| BackupError::Bad(error.to_string());
    let url = DatabaseUrl::Sqlite(file.to_owned());
    // SQLite checks no CHECK constraint of a file that it opens with mode=ro.
    let mut copy: AnyConnection =
        Manager::without_timeouts(&url).read_only().connect_existing().map_err(|e| bad(&e))?;
    let check = sql::<Text>("PRAGMA integrity_check");
    let found: Vec<String> = check.load(&mut copy).map_err(|error| bad(&error))?;
    if let Some(fault) = found.iter().find(|line| *line != "ok") {
        return Err(bad(fault));
    }
    let schema = drift::check(&url).map_err(|error| bad(&error))?;
    let mut rows = BTreeMap::new();
    let tables: Vec<String> = sql::<Text>(TABLES).load(&mut copy).map_err(|e| bad(&e))?;
    for table in tables.into_iter().filter(|name| name != MIGRATIONS_TABLE) {
        let count = sql::<BigInt>(&format!("SELECT count(*) FROM \"{table}\""));
        let count = count.get_result(&mut copy).map_err(|error| bad(&error))?;
        rows.insert(table, count);
    }
    Ok((rows, schema))
}

/// A file under a temporary name that cannot be mistaken for a backup. It is removed unless it is
/// completed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// An empty file that only this user can read.
    fn next_to(file: &Path) -> io::Result<Self> {
        let name = file.file_name().ok_or(ErrorKind::IsADirectory)?.to_string_lossy();
        let name = format!("{name}.{:016x}.unfinished", u64::from_be_bytes(random_bytes()));
        let path = file.with_file_name(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self(path))
    }

    /// Gives it its final name, and syncs the directory.
    fn persist_as(&self, file: &Path) -> io::Result<()> {
        // Unlike a rename, a link never replaces a file; but not every file system supports links.
        match fs::hard_link(&self.0, file) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !file.try_exists()? => {
                fs::rename(&self.0, file)?;
            }
            linked => linked?,
        }
        let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for ending in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(companion_file(&self.0, ending));
        }
    }
}
