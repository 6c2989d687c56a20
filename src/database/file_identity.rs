//! The identity of SQLite's files: whether their names still refer to the open files.
//!
//! SQLite keeps working on a file that was deleted or replaced, and a restart would lose all later
//! commits. So the writer compares device and inode around every commit, which costs a few
//! microseconds, and the sizes too. Nothing here opens a file: closing it again would release every
//! lock that this process holds on it (POSIX, fcntl).

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::QueryResult;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use tokio::time::Instant;

use super::AnyConnection;
use super::checkpoint;
use super::fault::StorageFault;

/// How often the length of the log is compared, and, while writes are rejected, the files too.
pub(super) const COMPARE_INTERVAL: Duration = Duration::from_millis(400);

/// The header size of SQLite's log and of each of its frames (the file format, 4.1 and 4.2).
const LOG_HEADER: u64 = 32;
const PAGE_HEADER: u64 = 24;

/// The files that the writer's connection has open.
pub(super) struct FileIdentity {
    database: ExpectedFile,
    /// The write-ahead log and its index, which exist as long as a connection is open.
    log_files: Vec<ExpectedFile>,
    size: u64,
    schema_version: i64,
    page_size: u64,
    /// SQLite itself may shorten the database at any commit.
    shrinks: bool,
    log_compared_at: Instant,
    fault: StorageFault,
}

struct ExpectedFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Records the files of `path`, which `connection` has read from.
    pub(super) fn of(
        path: &Path,
        connection: &mut AnyConnection,
        fault: StorageFault,
    ) -> Option<Self> {
        let real = fs::canonicalize(path).ok()?;
        let (database, size) = ExpectedFile::at(path.to_owned())?;
        let log_files = ["-wal", "-shm"]
            .into_iter()
            .filter_map(|end| ExpectedFile::at(companion_file(&real, end)));
        let schema_version = pragma(connection, "schema_version").ok()?;
        let page_size = pragma(connection, "page_size").ok()?;
        Some(Self {
            database,
            log_files: log_files.map(|(known, _)| known).collect(),
            size,
            schema_version,
            page_size: u64::try_from(page_size).ok()?,
            shrinks: pragma(connection, "auto_vacuum").ok()? != 0,
            log_compared_at: Instant::now(),
            fault,
        })
    }

    /// Whether the files are still those that were opened. Once they are not, it stays false.
    pub(super) fn is_unchanged(&mut self, connection: &mut AnyConnection) -> bool {
        if self.fault.get().is_some() {
            return false;
        }
        let mut found = self.compare(connection);
        if found.is_none() && self.log_compared_at.elapsed() >= COMPARE_INTERVAL {
            found = self.compare_log(connection);
            self.log_compared_at = Instant::now();
        }
        if let Some(found) = found {
            self.fault.set(found);
        }
        // Another thread may have set it in the meantime.
        self.fault.get().is_none()
    }

    fn compare(&mut self, connection: &mut AnyConnection) -> Option<&'static str> {
        let size = match self.database.compare() {
            FileComparison::Same(size) => size,
            FileComparison::Unknown => return None,
            FileComparison::Missing => return Some("the database file was deleted or moved"),
            FileComparison::Other => return Some("the database file was replaced"),
        };
        for known in &self.log_files {
            match known.compare() {
                FileComparison::Same(_) | FileComparison::Unknown => {}
                FileComparison::Missing => {
                    return Some("the database's log (-wal, -shm) was deleted or moved");
                }
                FileComparison::Other => {
                    return Some("the database's log (-wal, -shm) was replaced");
                }
            }
        }
        if size < self.size && !self.shrinks {
            // Only VACUUM shortens it, and increments the schema version before.
            match pragma(connection, "schema_version") {
                Ok(version) if version != self.schema_version => self.schema_version = version,
                _ => return Some("the database file was truncated"),
            }
        }
        self.size = size;
        None
    }

    /// The log must be at least as long as its index says. Another process may restart it between
    /// two statements, so a difference must be found three times.
    fn compare_log(&self, connection: &mut AnyConnection) -> Option<&'static str> {
        let log = self.log_files.first()?;
        for _ in 0..3 {
            let before = checkpoint::pages(connection).ok()?;
            let FileComparison::Same(size) = log.compare() else { return None };
            let after = checkpoint::pages(connection).ok()?;
            let pages = u64::try_from(before).ok().filter(|pages| *pages > 0)?;
            let least = LOG_HEADER + pages * (PAGE_HEADER + self.page_size);
            if before != after || size >= least {
                return None;
            }
        }
        Some("the database's log (-wal) was truncated")
    }
}

enum FileComparison {
    Same(u64),
    Missing,
    Other,
    /// The metadata is unavailable; SQLite still has its files open.
    Unknown,
}

impl ExpectedFile {
    fn at(path: PathBuf) -> Option<(Self, u64)> {
        let about = fs::metadata(&path).ok()?;
        Some((Self { path, device: about.dev(), inode: about.ino() }, about.len()))
    }

    fn compare(&self) -> FileComparison {
        match fs::metadata(&self.path) {
            Ok(about) if (about.dev(), about.ino()) == (self.device, self.inode) => {
                FileComparison::Same(about.len())
            }
            Ok(_) => FileComparison::Other,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                FileComparison::Missing
            }
            Err(_) => FileComparison::Unknown,
        }
    }
}

/// The name of a file that SQLite stores next to a database.
pub(in crate::database) fn companion_file(database: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(ending);
    name.into()
}

fn pragma(connection: &mut AnyConnection, name: &str) -> QueryResult<i64> {
    let query = format!("SELECT {name} AS value FROM pragma_{name}");
    sql::<BigInt>(&query).get_result(connection)
}
