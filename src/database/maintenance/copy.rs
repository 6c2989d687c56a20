//! Copies all data from one database to another, of either kind, and compares them.
//!
//! Both sides are locked against writes meanwhile: no row is written to the source that would not
//! be copied, and the target is filled in one transaction, which is committed only when its
//! contents equal the source. So an interrupted copy always leaves the target unchanged.

mod endpoint;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt as _;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

pub use report::{Compared, CopyError, CopyRole, CopyStep, Progress};
pub use rows::TableChecksum;

use super::migrations;
use crate::database::{AnyConnection, DatabaseUrl};
use crate::secret::random_bytes;
use endpoint::Endpoint;
use rows::{AuditEvent, Client, MailRequest, Revocation, Row, Session, SigningKey, User};

/// Every table, referenced tables first. A table that is missing here would not be copied; a test
/// checks that none is.
const TABLES: [Table; 7] = [
    Table::of::<User>(),
    Table::of::<Client>(),
    Table::of::<Session>(),
    Table::of::<Revocation>(),
    Table::of::<SigningKey>(),
    Table::of::<AuditEvent>(),
    Table::of::<MailRequest>(),
];

/// A table, and the functions that copy its rows and compute their checksum.
struct Table {
    name: &'static str,
    #[cfg(test)]
    columns: &'static [&'static str],
    copy: fn(&mut Endpoint, &mut Endpoint, Watch<'_>) -> Result<TableChecksum, CopyError>,
    sum: fn(&mut Endpoint, Watch<'_>) -> Result<TableChecksum, CopyError>,
}

impl Table {
    const fn of<R: Row>() -> Self {
        Self {
            name: R::TABLE,
            #[cfg(test)]
            columns: R::COLUMNS,
            copy: copy_table::<R>,
            sum: Endpoint::sum::<R>,
        }
    }
}

type Watch<'a> = &'a mut dyn FnMut(Progress);

/// Copies all data into an empty target and returns the checksums of every table on both sides. If
/// they differ, nothing was copied.
///
/// # Errors
/// [`CopyError`]; then the target is unchanged.
pub fn copy(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Compared>, CopyError> {
    refuse_same_file(from, to)?;
    let mut source = Endpoint::existing(CopyRole::Source, from)?;
    source.refuse_outdated()?;
    source.lock_against_writes()?;
    let mut target = Endpoint::open(CopyRole::Target, to)?;
    refuse_same_server(&mut source, &mut target)?;
    // Also before the migration: a target with rows is left unchanged.
    target.refuse_rows()?;
    let migrated = migrations::migrate(&mut target.connection, true);
    migrated.map_err(|error| CopyError::Open(CopyRole::Target, error))?;
    target.lock_against_writes()?;
    target.refuse_rows()?;

    let mut compared = Vec::new();
    for table in TABLES {
        let copied = (table.copy)(&mut source, &mut target, progress)?;
        let read_back = (table.sum)(&mut target, progress)?;
        compared.push(Compared { table: table.name, source: copied, target: read_back });
    }
    target.end_transaction(compared.iter().all(Compared::is_equal))?;
    // Only now may the source be written to again.
    source.end_transaction(false)?;
    Ok(compared)
}

/// Compares two databases without changing either.
///
/// # Errors
/// [`CopyError`] when one cannot be read.
pub fn compare(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Compared>, CopyError> {
    refuse_same_file(from, to)?;
    let mut source = Endpoint::read_only(CopyRole::Source, from)?;
    let mut target = Endpoint::read_only(CopyRole::Target, to)?;
    source.refuse_outdated()?;
    target.refuse_outdated()?;
    source.begin_reading()?;
    refuse_same_server(&mut source, &mut target)?;
    target.begin_reading()?;
    let mut compared = Vec::new();
    for Table { name: table, sum, .. } in TABLES {
        let (source, target) = (sum(&mut source, progress)?, sum(&mut target, progress)?);
        compared.push(Compared { table, source, target });
    }
    Ok(compared)
}

fn copy_table<R: Row>(
    source: &mut Endpoint,
    target: &mut Endpoint,
    progress: Watch<'_>,
) -> Result<TableChecksum, CopyError> {
    source.each_page::<R>(CopyStep::Copy, progress, |page| {
        let written = R::insert(&mut target.connection, page);
        written.map_err(|error| target.failed(&error))
    })
}

/// Rejects two names of one file, such as a link.
fn refuse_same_file(from: &DatabaseUrl, to: &DatabaseUrl) -> Result<(), CopyError> {
    let file = |url: &DatabaseUrl| match url {
        DatabaseUrl::Sqlite(path) => path.metadata().ok().map(|file| (file.dev(), file.ino())),
        DatabaseUrl::Postgres(_) => None,
    };
    match (file(from), file(to)) {
        (Some(from), Some(to)) if from == to => Err(CopyError::Same),
        _ => Ok(()),
    }
}

/// Rejects two URLs of one PostgreSQL database: only there is the source transaction's lock already
/// taken.
fn refuse_same_server(source: &mut Endpoint, target: &mut Endpoint) -> Result<(), CopyError> {
    let (AnyConnection::Postgres(from), AnyConnection::Postgres(to)) =
        (&mut source.connection, &mut target.connection)
    else {
        return Ok(());
    };
    let lock = i64::from_be_bytes(random_bytes());
    let try_lock = |connection: &mut PgConnection| {
        let query = format!("SELECT pg_try_advisory_xact_lock({lock})");
        sql::<Bool>(&query).get_result::<bool>(connection)
    };
    let first = try_lock(from);
    let second = try_lock(to);
    first.map_err(|error| source.failed(&error))?;
    if second.map_err(|error| target.failed(&error))? { Ok(()) } else { Err(CopyError::Same) }
}
