//! Copies all data from one database to another, of either kind, and compares them.
//!
//! Both sides are locked against writes meanwhile: no row is written to the source that would not
//! be copied, and the target is filled in one transaction, which is committed only when its
//! contents equal the source. So an interrupted copy always leaves the target unchanged.

mod rows;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Bool};

pub use rows::TableChecksum;

use super::migrations;
use crate::database::connection::Manager;
use crate::database::{AnyConnection, DatabaseUrl, OpenError};
use crate::secret::random_bytes;
use rows::{AuditEvent, Client, Revocation, Row, Session, SigningKey, User};

/// Every table, referenced tables first. A table that is missing here would not be copied; a test
/// checks that none is.
const TABLES: [Table; 6] = [
    Table::of::<User>(),
    Table::of::<Client>(),
    Table::of::<Session>(),
    Table::of::<Revocation>(),
    Table::of::<SigningKey>(),
    Table::of::<AuditEvent>(),
];

/// A table, and what is done with its rows.
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

/// One of the two databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyRole {
    /// The one to read from.
    Source,
    /// The one to fill.
    Target,
}

impl fmt::Display for CopyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a copy or a comparison failed; each message says what to do. The target is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A database is unusable.
    #[error("the {0}: {1}")]
    Open(CopyRole, OpenError),
    /// Its schema is not this version's.
    #[error(
        "the {0} lacks migration {1}; run `doorward db migrate --database-url URL` with its URL \
         first"
    )]
    Outdated(CopyRole, String),
    /// The target has rows.
    #[error(
        "the target is not empty: its table {0} has rows; name a new database, or recreate this \
         one if it holds only the data of a first start (nothing was changed)"
    )]
    NotEmpty(&'static str),
    /// Both URLs name the same database.
    #[error("the source and the target are the same database; name two")]
    Same,
    /// Another process writes.
    #[error(
        "the {0} cannot be locked against writes ({1}); stop Doorward on every node, then try \
         again (nothing was changed)"
    )]
    Busy(CopyRole, String),
    /// A statement failed.
    #[error("the {0} failed ({1}); nothing was changed: fix the cause, then try again")]
    Failed(CopyRole, String),
}

/// The progress of a copy.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The current table.
    pub table: &'static str,
    /// The current step.
    pub step: CopyStep,
    /// Rows processed.
    pub done: u64,
    /// Rows in total.
    pub of: u64,
}

/// A step of processing a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Its rows go from the source to the target.
    Copy,
    /// Its rows are read and their checksum is computed.
    Compare(CopyRole),
}

/// A table's checksums on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Its name.
    pub table: &'static str,
    /// Its rows in the source.
    pub source: TableChecksum,
    /// Its rows in the target.
    pub target: TableChecksum,
}

impl Compared {
    /// Whether both sides hold the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.source == self.target
    }
}

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

/// A connection to one of the two.
struct Endpoint {
    side: CopyRole,
    connection: AnyConnection,
}

impl Endpoint {
    fn existing(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = Manager::without_timeouts(url).connect_existing();
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    /// The same, only to be read.
    fn read_only(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = Manager::without_timeouts(url).for_inspection().connect_existing();
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    /// The same as [`Endpoint::existing`]; a missing SQLite file is created. An existing file that
    /// every user can read is rejected.
    fn open(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = url.is_private().and_then(|()| Manager::without_timeouts(url).open());
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    fn refuse_outdated(&mut self) -> Result<(), CopyError> {
        let versions = migrations::versions(&mut self.connection);
        let current = versions.and_then(|versions| versions.is_current(false));
        current.map_err(|error| match error {
            OpenError::Pending(migration) => CopyError::Outdated(self.side, migration),
            error => CopyError::Open(self.side, error),
        })
    }

    /// Rejects a database that has rows in any of its tables.
    fn refuse_rows(&mut self) -> Result<(), CopyError> {
        for table in TABLES {
            let counted = match self.has_table(table.name) {
                Ok(true) => self.count(table.name),
                other => other.map(|_| 0),
            };
            if counted.map_err(|error| self.failed(&error))? > 0 {
                return Err(CopyError::NotEmpty(table.name));
            }
        }
        Ok(())
    }

    fn has_table(&mut self, name: &str) -> QueryResult<bool> {
        let query = match self.connection {
            AnyConnection::Sqlite(_) => {
                format!("SELECT count(*) FROM sqlite_master WHERE name = '{name}'")
            }
            AnyConnection::Postgres(_) => {
                format!("SELECT count(*) FROM pg_class WHERE oid = to_regclass('{name}')")
            }
        };
        Ok(self.number(&query)? > 0)
    }

    fn count(&mut self, table: &str) -> QueryResult<i64> {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    fn number(&mut self, query: &str) -> QueryResult<i64> {
        sql::<BigInt>(query).get_result(&mut self.connection)
    }

    /// Begins a transaction that locks the tables against other writers.
    fn lock_against_writes(&mut self) -> Result<(), CopyError> {
        let held = match self.connection {
            AnyConnection::Sqlite(_) => self.connection.batch_execute("BEGIN IMMEDIATE"),
            AnyConnection::Postgres(_) => {
                let tables: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
                // Others can still read. The transaction's snapshot is taken after the lock.
                self.connection.batch_execute(&format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ;
                     LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE;",
                    tables.join(", ")
                ))
            }
        };
        held.map_err(|error| CopyError::Busy(self.side, error.to_string()))
    }

    /// Begins a transaction with one snapshot, regardless of other writers.
    fn begin_reading(&mut self) -> Result<(), CopyError> {
        let begun = match self.connection {
            AnyConnection::Sqlite(_) => self.connection.batch_execute("BEGIN"),
            AnyConnection::Postgres(_) => {
                self.connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            }
        };
        begun.map_err(|error| self.failed(&error))
    }

    fn end_transaction(&mut self, commit: bool) -> Result<(), CopyError> {
        let ended = self.connection.batch_execute(if commit { "COMMIT" } else { "ROLLBACK" });
        ended.map_err(|error| self.failed(&error))
    }

    fn sum<R: Row>(&mut self, progress: Watch<'_>) -> Result<TableChecksum, CopyError> {
        self.each_page::<R>(CopyStep::Compare(self.side), progress, |_| Ok(()))
    }

    /// Passes every row on, page by page, and computes the checksum.
    fn each_page<R: Row>(
        &mut self,
        step: CopyStep,
        progress: Watch<'_>,
        mut take: impl FnMut(&[R]) -> Result<(), CopyError>,
    ) -> Result<TableChecksum, CopyError> {
        let count = self.count(R::TABLE).map_err(|error| self.failed(&error))?;
        let of = u64::try_from(count).unwrap_or_default();
        let mut sum = TableChecksum::default();
        let mut last: Option<R::Key> = None;
        loop {
            progress(Progress { table: R::TABLE, step, done: sum.rows, of });
            let page = R::page(&mut self.connection, last.as_ref());
            let page = page.map_err(|error| self.failed(&error))?;
            take(&page)?;
            for row in &page {
                sum.add(row);
            }
            let Some(row) = page.last() else { return Ok(sum) };
            last = Some(row.key().clone());
        }
    }

    fn failed(&self, error: &DieselError) -> CopyError {
        CopyError::Failed(self.side, error.to_string())
    }
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

#[cfg(test)]
mod tests {
    use diesel::sql_types::Text;

    use super::*;

    fn migrated() -> (tempfile::TempDir, AnyConnection) {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(directory.path().join("doorward.db"));
        crate::database::migrate(&url).unwrap();
        (directory, Manager::without_timeouts(&url).connect_existing().unwrap())
    }

    fn names(connection: &mut AnyConnection, query: &str) -> Vec<String> {
        let mut names: Vec<String> = sql::<Text>(query).load(connection).unwrap();
        names.sort();
        names
    }

    #[test]
    fn every_table_and_every_column_is_copied() {
        let (_directory, mut connection) = migrated();
        let query = "SELECT name FROM sqlite_master WHERE type = 'table' \
                     AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_\\_diesel%' ESCAPE '\\'";
        let mut listed: Vec<String> = TABLES.iter().map(|table| table.name.into()).collect();
        listed.sort();
        assert_eq!(names(&mut connection, query), listed);
        for table in TABLES {
            let query = format!("SELECT name FROM pragma_table_info('{}')", table.name);
            let mut listed: Vec<String> = table.columns.iter().map(|&name| name.into()).collect();
            listed.sort();
            assert_eq!(names(&mut connection, &query), listed, "{}", table.name);
        }
    }

    #[test]
    fn tables_are_listed_after_those_that_they_reference() {
        let (_directory, mut connection) = migrated();
        let mut before: Vec<&str> = Vec::new();
        for table in TABLES {
            let query =
                format!("SELECT \"table\" AS name FROM pragma_foreign_key_list('{}')", table.name);
            for parent in names(&mut connection, &query) {
                assert!(before.contains(&parent.as_str()), "{parent} before {}", table.name);
            }
            before.push(table.name);
        }
    }

    #[test]
    fn the_checksum_of_rows_depends_on_their_contents_and_not_on_their_order() {
        let row = |text: &str, bytes: Option<&[u8]>| (text.to_owned(), bytes.map(<[u8]>::to_vec));
        let sum = |rows: &[&(String, Option<Vec<u8>>)]| {
            let mut sum = TableChecksum::default();
            for row in rows {
                sum.add(row);
            }
            sum
        };
        let (one, two) = (row("a", Some(b"b")), row("b", None));
        assert_eq!(sum(&[&one, &two]), sum(&[&two, &one]));
        for other in [row("ab", Some(b"")), row("a", None), row("", Some(b"ab"))] {
            assert_ne!(sum(&[&one, &two]), sum(&[&other, &two]));
        }
        assert_ne!(sum(&[&two]), sum(&[&row("b", Some(b""))]), "NULL is not empty");
        assert_ne!(sum(&[&one]), sum(&[&one, &one]));
    }
}
