//! The database: two calls, [`Database::read`] and [`Database::write`], each a unit of work on one
//! connection.
//!
//! The closure *is* the transaction, and it is synchronous: nothing can await, or hash a password,
//! while a connection is held. A decision of a unit ("reuse", "e-mail taken") is its value; an
//! error means that nothing of it was committed.
//!
//! - SQLite: one writer thread commits units in groups, another checkpoints the WAL, and a pool of
//!   connections reads.
//! - PostgreSQL: a pool; a unit is a READ COMMITTED transaction, retried on a deadlock.

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
/// also wait for the preceding group, and all of it should take less than 3 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a start waits for SQLite's connection, since an error would end the process.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a read of SQLite may take: it waits for a thread, then perhaps for a lock. Only an
/// unresponsive disk takes longer.
const READ_TIMEOUT: Duration = Duration::from_millis(2500);

/// The maximum number of units in SQLite's reader queue: behind an unresponsive disk, more would
/// only use memory.
const MAX_QUEUED_READS: usize = 4096;

type Readers = r2d2::Pool<Manager>;

tokio::task_local! {
    /// How long the request of this task has waited for PostgreSQL.
    static TIME_WAITED: Cell<Duration>;
}

/// Runs one request: all its units of work together wait for an unresponsive database no longer
/// than a single one may.
pub async fn with_database_deadline<F: Future>(request: F) -> F::Output {
    TIME_WAITED.scope(Cell::new(Duration::ZERO), request).await
}

/// The location of the data and the settings of its connections.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The database.
    pub url: DatabaseUrl,
    /// Connections for reads (SQLite) or for everything (PostgreSQL).
    pub pool_size: u32,
    /// The timeout of a PostgreSQL statement; waiting for a lock may take half of it.
    pub statement_timeout: Duration,
    /// Whether to apply pending migrations at a start, rather than reject an outdated schema.
    pub migrate: bool,
}

/// Why a unit of work was not committed, as far as is known ([`Database::write`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database is unavailable: unreachable, locked, full, or too busy. A retry is appropriate.
    #[error("the database is not available")]
    Unavailable,
    /// The unit itself failed: a bug here.
    #[error("the unit of work failed")]
    Failed,
}

/// The open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    backend: Arc<Backend>,
    /// Statements run on the pool's connections.
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
            let late = |_| Err(unavailable(&"the disk does not respond"));
            timeout(READ_TIMEOUT, reading).await.unwrap_or_else(late)
        }
    }

    /// The same without a limit on SQLite's time: at the start, when it may have much to read and
    /// other processes may start at the same time.
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

    /// Reads, and waits at most `limit` each for a thread and for SQLite's connection.
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
                        return Err(unavailable(&"the reader queue is full"));
                    };
                    let (readers, asked_at) = (readers.clone(), Instant::now());
                    let fault = fault.clone();
                    let work = in_span(move || {
                        // Released when its turn has come, even if the caller is gone.
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

    /// Runs a unit that writes, and returns when it is on disk.
    ///
    /// The closure may run more than once on PostgreSQL; only the last run counts.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known to be on disk. With SQLite nothing of it was committed;
    /// with PostgreSQL it may have been, if the connection failed during the commit.
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

    /// [`Database::write`] for a unit that reads and then writes by one statement, which succeeds
    /// only if the values read are unchanged (a compare-and-set). It saves PostgreSQL the two round
    /// trips that begin and end a transaction. The statement runs on [`Tx::connection_to_write`];
    /// more than one statement needs [`Tx::begin`] first.
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

    /// Whether the database answers reads and writes in time.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| connection.batch_execute("SELECT 1")).await?;
        // It changes nothing, so its commit writes nothing.
        self.write(|tx| tx.connection().batch_execute("SELECT 1")).await
    }

    /// Why writes are rejected until a restart: SQLite's files were deleted, replaced, truncated or
    /// overwritten while they were open.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        match &*self.backend {
            Backend::Sqlite { fault, .. } => fault.get(),
            Backend::Postgres(_) => None,
        }
    }

    /// The reader threads that each worker needs; `None` where the database needs none. With more
    /// threads than connections, most would wake up only to wait for one.
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

    /// The load of the database.
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

    /// The means to notice other processes' writes.
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

/// The load of the database's connections.
#[derive(Clone, Debug)]
pub struct Load {
    /// Open connections in the pool.
    pub connections: u32,
    /// Idle ones among them.
    pub idle: u32,
    /// Statements that they have run since the start.
    pub statements: u64,
    /// SQLite's writer: its queue length, and the number of units in its commits.
    pub writer: Option<(usize, Histogram)>,
}

/// How to notice other processes' writes: by polling the file, or by asking the server.
pub enum ChangeSource {
    /// SQLite's.
    File(DataVersionPoller),
    /// PostgreSQL's.
    Server(Box<Listener>),
}

/// Work for another thread, which logs within this request's span.
fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

thread_local! {
    static IN_UNIT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a unit so that a panic in it fails this unit only.
fn guarded<T>(unit: impl FnOnce() -> QueryResult<T>) -> QueryResult<T> {
    IN_UNIT.set(true);
    let result = catch_unwind(AssertUnwindSafe(unit));
    IN_UNIT.set(false);
    result.unwrap_or_else(|_| {
        tracing::error!("a unit of work panicked");
        Err(DieselError::RollbackTransaction)
    })
}

/// A unit that starts another would deadlock.
fn refuse_nesting() {
    assert!(!IN_UNIT.get(), "a unit of work must not start another");
}

/// Background tasks and every request encounter an unavailable database, many times a second.
static UNAVAILABLE_LINES: LogRateLimit = LogRateLimit::new(2, Duration::from_secs(60));

fn unavailable(error: &dyn fmt::Display) -> StoreError {
    let reason = RefusalReason::of(&error.to_string());
    if reason == Some(RefusalReason::Full) {
        // The pool has logged the reason; this line would repeat it for every request.
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
