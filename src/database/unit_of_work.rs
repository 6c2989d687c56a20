//! Units of work: the calls that run them, and the rules that hold while one runs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::Error as DieselError;
use tokio::time::{Instant, timeout};

use super::tx::TxState;
use super::{
    AnyConnection, Backend, CONNECTION_TIMEOUT, Database, START_TIMEOUT, StoreError, Tx,
    unavailable,
};

/// How long a read of SQLite may take: it waits for a thread, then perhaps for a lock. Only an
/// unresponsive disk takes longer.
const READ_TIMEOUT: Duration = Duration::from_millis(2500);

impl Database {
    /// A handle whose units run for this operator, as the audit trail names it.
    #[must_use]
    pub fn with_actor(self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self }
    }

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

    /// Runs a unit that only reads, without `READ_TIMEOUT`: at the start, when it may have much
    /// to read and other processes may start at the same time.
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
                        // Released when the work starts, even if the caller no longer waits.
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
        self.write_from(TxState::InTransaction, unit)
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
        self.write_from(TxState::Reading, unit)
    }

    /// Runs a unit that writes. `start` is the state of its transaction on PostgreSQL; on SQLite it
    /// is always in one.
    fn write_from<T, F>(
        &self,
        start: TxState,
        unit: F,
    ) -> impl Future<Output = Result<T, StoreError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        refuse_nesting();
        let unit = for_actor(self.actor.clone(), unit);
        let (backend, write_refusals) = (Arc::clone(&self.backend), self.write_refusals.clone());
        async move {
            write_refusals.record(match &*backend {
                Backend::Sqlite { writer, .. } => writer.run(unit).await,
                Backend::Postgres(postgres) => postgres.write(unit, start).await,
            })
        }
    }
}

/// A unit that knows for whom it runs.
fn for_actor<T>(
    actor: Option<Arc<str>>,
    mut unit: impl FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
) -> impl FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static {
    move |tx| {
        tx.actor.clone_from(&actor);
        unit(tx)
    }
}

/// Work for another thread, which logs within this request's span.
pub(super) fn in_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let span = tracing::Span::current();
    move || span.in_scope(work)
}

thread_local! {
    static IN_UNIT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a unit so that a panic in it fails this unit only.
pub(super) fn guarded<T>(unit: impl FnOnce() -> QueryResult<T>) -> QueryResult<T> {
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
