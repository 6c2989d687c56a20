//! The store: two calls, [`Database::read`] and [`Database::write`], each a unit of work over one
//! connection.
//!
//! The closure *is* the transaction, and it is synchronous: nothing can await, or hash a password,
//! while a connection is held. What a unit decides ("reuse", "e-mail taken") is its value; its
//! error means that nothing of it happened.
//!
//! - SQLite: one writer thread commits units in groups, and one more brings its log into the file; a
//!   pool of readers.
//! - PostgreSQL: a pool; a unit is a READ COMMITTED transaction, tried again on a deadlock.

mod checkpoint;
mod connection;
mod connection_refusals;
mod data_version;
mod fault;
mod file_checks;
mod file_identity;
mod inspection;
mod listen;
pub mod maintenance;
mod open_error;
mod opening;
mod postgres;
mod prepared_update;
pub mod schema;
pub mod sql_types;
pub mod time;
mod tx;
mod url;
mod write_refusals;
mod writer;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::r2d2::ManageConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub use connection::{AnyConnection, MultiBackend};
pub use connection_refusals::CONNECTIONS_OUTSIDE_POOL;
pub use data_version::DataVersionPoller;
pub use listen::Listener;
pub use maintenance::drift::{SchemaReport, check};
pub use maintenance::health::{Inspected, inspect};
pub use open_error::OpenError;
pub use opening::migrate;
pub use prepared_update::PreparedUpdate;
pub use sql_types::Id;
pub use url::{DatabaseUrl, UrlError};

use crate::log_rate_limit::LogRateLimit;
use crate::metrics::Histogram;
use connection::Manager;
use connection_refusals::RefusalReason;
use fault::StorageFault;
use postgres::Postgres;
pub use tx::Tx;
use tx::{Hook, TxState};
use write_refusals::WriteRefusals;
use writer::Writer;

/// How long a request waits for a connection, or its group of units for SQLite's lock. A unit may
/// wait for the group before its own, too, and all of it should take less than 3 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a start waits for SQLite's connection: an error would end the process.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long SQLite may take to read: it waits for a thread, then perhaps for a lock. Only a disk that
/// does not answer takes longer.
const READ_TIMEOUT: Duration = Duration::from_millis(2500);

/// Units that SQLite's readers have before them at most: behind a disk that hangs more would only
/// take memory.
const MAX_QUEUED_READS: usize = 4096;

type Readers = r2d2::Pool<Manager>;

tokio::task_local! {
    /// How long the request that this task works on has waited for PostgreSQL.
    static TIME_WAITED: Cell<Duration>;
}

/// Works on one request: all its units of work together wait no longer for a database that does not
/// answer than one alone may.
pub async fn with_database_deadline<F: Future>(request: F) -> F::Output {
    TIME_WAITED.scope(Cell::new(Duration::ZERO), request).await
}

/// Where the data is and how to reach it.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The database.
    pub url: DatabaseUrl,
    /// Connections for reading (SQLite) or for everything (PostgreSQL).
    pub pool_size: u32,
    /// The longest that PostgreSQL may work on one statement; half of it may be waiting for a lock.
    pub statement_timeout: Duration,
    /// Whether to bring the schema up to date at start, rather than refuse an old one.
    pub migrate: bool,
}

/// Why a unit of work did not happen, as far as anybody knows ([`Database::write`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot do it now: gone, locked, full, or too busy. Trying again is right.
    #[error("the database is not available")]
    Unavailable,
    /// The unit itself is at fault: a bug here.
    #[error("the unit of work failed")]
    Failed,
}

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    backend: Arc<Backend>,
    /// Run on the pool's connections.
    statements: Arc<AtomicU64>,
    write_refusals: WriteRefusals,
}

enum Backend {
    Sqlite {
        writer: Writer,
        readers: Readers,
        permits: Arc<Semaphore>,
        manager: Manager,
        fault: StorageFault,
    },
    Postgres(Postgres),
}

impl Database {
    /// Runs a unit that only reads.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer in time.
    pub fn read<T, F>(&self, unit: F) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        let is_file = matches!(&*self.backend, Backend::Sqlite { .. });
        let reading = self.read_within(CONNECTION_TIMEOUT, unit);
        async move {
            if !is_file {
                return reading.await;
            }
            let late = |_| Err(unavailable(&"the disk does not answer"));
            timeout(READ_TIMEOUT, reading).await.unwrap_or_else(late)
        }
    }

    /// The same, however long SQLite takes: at the start, when there may be much to read and the
    /// machine may be busy with other starts.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer.
    pub fn read_without_timeout<T, F>(
        &self,
        unit: F,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        self.read_within(START_TIMEOUT, unit)
    }

    /// Reads, and waits no longer than `limit` each for a thread and for SQLite's connection.
    fn read_within<T, F>(
        &self,
        limit: Duration,
        mut unit: F,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let backend = Arc::clone(&self.backend);
        async move {
            match &*backend {
                Backend::Sqlite { readers, permits, fault, .. } => {
                    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
                        return Err(unavailable(&"too many wait for a reader"));
                    };
                    let (readers, asked_at) = (readers.clone(), Instant::now());
                    let fault = fault.clone();
                    let work = in_span(move || {
                        // Given back when its turn has come, whether or not anybody still waits.
                        let _permit = permit;
                        if asked_at.elapsed() >= limit {
                            return Err(unavailable(&"every reader is in use"));
                        }
                        let connection = readers.get_timeout(limit);
                        let mut connection =
                            connection.map_err(|error| fault.unavailable(&error))?;
                        guarded(|| unit(&mut connection)).map_err(|error| fault.classify(&error))
                    });
                    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Failed))
                }
                Backend::Postgres(postgres) => postgres.read(unit).await,
            }
        }
    }

    /// Runs a unit that writes, and answers when it is on disk.
    ///
    /// The closure may run more than once on PostgreSQL; only the last run counts.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known to be on disk. With SQLite nothing of it happened; with
    /// PostgreSQL it may have, if the connection was lost in the very moment of the commit.
    pub fn write<T, F>(&self, unit: F) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let (backend, write_refusals) = (Arc::clone(&self.backend), self.write_refusals.clone());
        async move {
            write_refusals.record(match &*backend {
                Backend::Sqlite { writer, .. } => writer.run(unit).await,
                Backend::Postgres(postgres) => postgres.write(unit, TxState::InTransaction).await,
            })
        }
    }

    /// [`Database::write`] for a unit that reads and then writes by one statement, which holds if
    /// what was read still does (a compare-and-set). PostgreSQL is spared the two round trips that
    /// begin and end a transaction. The statement runs on [`Tx::connection_to_write`]; where there
    /// must be more than one, [`Tx::begin`] comes first.
    ///
    /// # Errors
    /// [`StoreError`], as for [`Database::write`].
    pub fn write_one<T, F>(
        &self,
        unit: F,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let (backend, write_refusals) = (Arc::clone(&self.backend), self.write_refusals.clone());
        async move {
            write_refusals.record(match &*backend {
                Backend::Sqlite { writer, .. } => writer.run(unit).await,
                Backend::Postgres(postgres) => postgres.write(unit, TxState::Reading).await,
            })
        }
    }

    /// Whether the database reads, and takes writes in time.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| connection.batch_execute("SELECT 1")).await?;
        // It changes nothing, so its commit writes nothing.
        self.write(|tx| tx.connection().batch_execute("SELECT 1")).await
    }

    /// Why nothing is written until a restart: SQLite's files were deleted, replaced, truncated or
    /// overwritten while they were open.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match &*self.backend {
            Backend::Sqlite { fault, .. } => fault.get(),
            Backend::Postgres(_) => None,
        }
    }

    /// How many threads each of so many workers needs to read; nothing where the database sees to
    /// that itself. With more than there are connections most would be woken only to wait for one.
    #[must_use]
    pub fn reading_threads(&self, workers: usize) -> Option<usize> {
        match &*self.backend {
            Backend::Sqlite { readers, .. } => {
                let connections = usize::try_from(readers.max_size()).unwrap_or(usize::MAX);
                Some(connections.div_ceil(workers.max(1)))
            }
            Backend::Postgres(_) => None,
        }
    }

    /// How busy it is.
    #[must_use]
    pub fn load(&self) -> Load {
        let (pool, writer) = match &*self.backend {
            Backend::Sqlite { writer, readers, .. } => {
                (readers.state(), Some((writer.waiting(), writer.groups().clone())))
            }
            Backend::Postgres(postgres) => (postgres.state(), None),
        };
        Load {
            connections: pool.connections,
            idle: pool.idle_connections,
            statements: self.statements.load(Ordering::Relaxed),
            writer,
        }
    }

    /// The means to notice what other processes write.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened.
    pub fn change_source(&self) -> Result<ChangeSource, StoreError> {
        match &*self.backend {
            Backend::Sqlite { manager, fault, .. } => {
                let connection = manager.connect().map_err(|error| fault.unavailable(&error))?;
                Ok(ChangeSource::File(DataVersionPoller::new(
                    self.clone(),
                    connection,
                    fault.clone(),
                )))
            }
            Backend::Postgres(postgres) => Ok(ChangeSource::Server(postgres.listener())),
        }
    }
}

/// How busy the database's connections are.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections that are open in the pool.
    pub connections: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// Statements that they have run since the start.
    pub statements: u64,
    /// SQLite's writer: units that wait, and how many its commits had.
    pub writer: Option<(usize, Histogram)>,
}

/// How to notice what others write: by looking at the file, or by asking the server.
pub enum ChangeSource {
    /// SQLite's.
    File(DataVersionPoller),
    /// PostgreSQL's.
    Server(Box<Listener>),
}

/// Work for another thread, which logs there under this request.
fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

thread_local! {
    static IN_UNIT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a unit so that a panic in it is its own failure and nobody else's.
fn guarded<T>(unit: impl FnOnce() -> QueryResult<T>) -> QueryResult<T> {
    IN_UNIT.set(true);
    let result = catch_unwind(AssertUnwindSafe(unit));
    IN_UNIT.set(false);
    result.unwrap_or_else(|_| {
        tracing::error!("a unit of work panicked");
        Err(DieselError::RollbackTransaction)
    })
}

/// A unit that starts another would wait for itself.
fn refuse_nesting() {
    assert!(!IN_UNIT.get(), "a unit of work must not start another");
}

/// Background tasks and every request meet a database that does not answer, many times a second.
static UNAVAILABLE_LINES: LogRateLimit = LogRateLimit::new(2, Duration::from_secs(60));

fn unavailable(error: &dyn fmt::Display) -> StoreError {
    let reason = RefusalReason::of(&error.to_string());
    if reason == Some(RefusalReason::Full) {
        // The pool has said so, and would for every request.
        tracing::debug!(%error, "no connection to the database");
    } else {
        let remedy = reason.map(RefusalReason::remedy);
        if let Some(left_out) = UNAVAILABLE_LINES.allow_line(Instant::now().into_std()) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::error!(%error, remedy, left_out, "the database is not available");
        }
    }
    StoreError::Unavailable
}

fn classify(error: &DieselError) -> StoreError {
    use DatabaseErrorKind as Kind;
    match error {
        DieselError::DatabaseError(
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation,
            _,
        )
        | DieselError::NotFound
        | DieselError::RollbackTransaction
        | DieselError::DeserializationError(_)
        | DieselError::SerializationError(_)
        | DieselError::QueryBuilderError(_)
        | DieselError::InvalidCString(_) => {
            tracing::error!(%error, "a unit of work failed");
            StoreError::Failed
        }
        _ => unavailable(error),
    }
}
