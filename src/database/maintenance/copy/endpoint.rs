//! One of the two databases of a copy.

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;

use super::rows::Row;
use super::{CopyError, CopyRole, CopyStep, Progress, TABLES, TableChecksum, Watch};
use crate::database::connection::Manager;
use crate::database::maintenance::migrations;
use crate::database::{AnyConnection, DatabaseUrl, OpenError};

/// A connection to one of the two.
pub(super) struct Endpoint {
    side: CopyRole,
    pub(super) connection: AnyConnection,
}

impl Endpoint {
    pub(super) fn existing(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = Manager::without_timeouts(url).connect_existing();
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    /// Opens an existing database that is only read.
    pub(super) fn read_only(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = Manager::without_timeouts(url).for_inspection().connect_existing();
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    /// Opens a database; a missing SQLite file is created. An existing file that every user can
    /// read is rejected.
    pub(super) fn open(side: CopyRole, url: &DatabaseUrl) -> Result<Self, CopyError> {
        let connection = url.refuse_exposed().and_then(|()| Manager::without_timeouts(url).open());
        Ok(Self { side, connection: connection.map_err(|e| CopyError::Open(side, e))? })
    }

    pub(super) fn refuse_outdated(&mut self) -> Result<(), CopyError> {
        let versions = migrations::versions(&mut self.connection);
        let current = versions.and_then(|versions| versions.is_current(false));
        current.map_err(|error| match error {
            OpenError::Pending(migration) => CopyError::Outdated(self.side, migration),
            error => CopyError::Open(self.side, error),
        })
    }

    /// Rejects a database that has rows in any of its tables.
    pub(super) fn refuse_rows(&mut self) -> Result<(), CopyError> {
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
    pub(super) fn lock_against_writes(&mut self) -> Result<(), CopyError> {
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
    pub(super) fn begin_reading(&mut self) -> Result<(), CopyError> {
        let begun = match self.connection {
            AnyConnection::Sqlite(_) => self.connection.batch_execute("BEGIN"),
            AnyConnection::Postgres(_) => {
                self.connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            }
        };
        begun.map_err(|error| self.failed(&error))
    }

    pub(super) fn end_transaction(&mut self, commit: bool) -> Result<(), CopyError> {
        let ended = self.connection.batch_execute(if commit { "COMMIT" } else { "ROLLBACK" });
        ended.map_err(|error| self.failed(&error))
    }

    pub(super) fn sum<R: Row>(&mut self, progress: Watch<'_>) -> Result<TableChecksum, CopyError> {
        self.each_page::<R>(CopyStep::Compare(self.side), progress, |_| Ok(()))
    }

    /// Passes every row on, page by page, and computes the checksum.
    pub(super) fn each_page<R: Row>(
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

    pub(super) fn failed(&self, error: &DieselError) -> CopyError {
        CopyError::Failed(self.side, error.to_string())
    }
}
