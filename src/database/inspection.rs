//! Opens a SQLite file for reading, and leaves it and the files next to it unchanged.
//!
//! An ordinary connection creates the log (`-wal`) and its index (`-shm`) if they are missing,
//! rebuilds the index after a crash, and checkpoints the log when it is the last to close.

use std::fs;
use std::path::{Path, absolute};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::r2d2::Error;

use super::file_identity::companion_file;

/// SQLite reads the log without creating an index.
const LOG: &str = "mode=ro&readonly_shm=1";

/// For a log whose index is missing or not complete yet: SQLite creates the index.
const LOG_AND_INDEX: &str = "mode=ro";

/// SQLite looks for neither a log nor locks: without a log no service has the file open.
const ALONE: &str = "mode=ro&immutable=1";

/// Opens an existing file, runs `setup`, and reads from it once.
pub(super) fn open(path: &Path, setup: &str) -> Result<SqliteConnection, Error> {
    let real = fs::canonicalize(path).or_else(|_| absolute(path)).unwrap_or_else(|_| path.into());
    let (first, otherwise) = parameters(&real);
    let opened = open_with(&real, first, setup);
    match otherwise {
        Some(parameters) => opened.or_else(|_| open_with(&real, parameters, setup)),
        None => opened,
    }
}

/// How SQLite opens the file, and the alternative if it cannot.
fn parameters(database: &Path) -> (&'static str, Option<&'static str>) {
    let size =
        |ending| fs::metadata(companion_file(database, ending)).map(|about| about.len()).ok();
    match (size("-wal"), size("-shm"), size("-journal")) {
        (Some(1..), _, _) | (Some(0), Some(_), _) => (LOG, Some(LOG_AND_INDEX)),
        // A transaction is in progress or was interrupted, so the locks matter.
        (_, _, Some(_)) => (LOG_AND_INDEX, None),
        _ => (ALONE, None),
    }
}

fn open_with(path: &Path, parameters: &str, setup: &str) -> Result<SqliteConnection, Error> {
    let uri = format!("file:{}?{parameters}", escaped(&path.to_string_lossy()));
    let mut connection = SqliteConnection::establish(&uri).map_err(Error::ConnectionError)?;
    // Only now does SQLite open the log.
    connection
        .batch_execute(&format!("{setup} SELECT count(*) FROM sqlite_schema;"))
        .map_err(Error::QueryError)?;
    Ok(connection)
}

/// The path in the form of SQLite's URIs.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
