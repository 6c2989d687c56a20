//! One pool of connections. It is abandoned as a whole when one of its connections hangs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connections::PgManager;
use super::{BEGIN, CallerAlive};
use crate::database::connection_refusals::ConnectionRefusals;
use crate::database::{
    AnyConnection, CONNECTION_TIMEOUT, StoreError, Tx, TxState, classify, guarded, unavailable,
};

/// How often a unit is attempted when PostgreSQL asks for a retry.
const MAX_ATTEMPTS: u32 = 5;

/// It runs as many units at a time as the settings allow connections; further callers wait without
/// a thread.
pub(super) struct Pool {
    pub(super) connections: ::r2d2::Pool<PgManager>,
    pub(super) permits: Arc<Semaphore>,
    refusals: Arc<ConnectionRefusals>,
    pub(super) is_abandoned: AtomicBool,
    abandoned: Arc<AtomicUsize>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        if *self.is_abandoned.get_mut() {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Pool {
    pub(super) fn open(
        pg_manager: PgManager,
        size: u32,
        abandoned: &Arc<AtomicUsize>,
    ) -> Arc<Self> {
        let refusals = Arc::clone(&pg_manager.refusals);
        let connections = ::r2d2::Pool::builder()
            .max_size(size)
            .connection_timeout(CONNECTION_TIMEOUT)
            // The unit's own first statement shows whether a connection works.
            .test_on_check_out(false)
            // The manager logs errors itself, and not one for each attempt.
            .error_handler(Box::new(::r2d2::NopErrorHandler))
            .build_unchecked(pg_manager);
        let permits =
            Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS)));
        let is_abandoned = AtomicBool::new(false);
        let abandoned = Arc::clone(abandoned);
        Arc::new(Self { connections, permits, refusals, is_abandoned, abandoned })
    }

    pub(super) fn read<T>(
        &self,
        unit: &mut impl FnMut(&mut AnyConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        for _ in self.tries() {
            let mut connection = self.checkout()?;
            match guarded(|| unit(&mut connection)) {
                Ok(value) => return Ok(value),
                Err(_) if connection.execute_or_mark_broken("SELECT 1") => {}
                Err(error) => return Err(classify(&error)),
            }
        }
        Err(unavailable(&"all database connections failed"))
    }

    /// Runs a unit, within a transaction or without one.
    pub(super) fn write<T>(
        &self,
        unit: &mut impl FnMut(&mut Tx<'_>) -> QueryResult<T>,
        start: TxState,
        caller: &CallerAlive,
    ) -> Result<T, StoreError> {
        let mut attempt = 0;
        for _ in self.tries() {
            let mut connection = self.checkout()?;
            if start == TxState::InTransaction && connection.execute_or_mark_broken(BEGIN) {
                continue;
            }
            attempt += 1;
            let (mut hooks, mut state) = (Vec::new(), start);
            match connection.transact(&mut hooks, &mut state, unit, caller) {
                Ok(value) => {
                    for hook in hooks {
                        hook();
                    }
                    return Ok(value);
                }
                // Nothing was written, and the next connection may work.
                Err(_) if state == TxState::Reading && connection.is_broken => attempt -= 1,
                Err(error) if attempt < MAX_ATTEMPTS && is_retryable(&error) => {
                    tracing::debug!(attempt, "retrying a unit of work");
                }
                Err(error) => return Err(classify(&error)),
            }
        }
        Err(unavailable(&"all database connections failed"))
    }

    fn checkout(&self) -> Result<::r2d2::PooledConnection<PgManager>, StoreError> {
        self.connections.get().map_err(|error| {
            // It has logged the refusal; another line for every request would repeat it.
            if self.refusals.record_if_unanswered(Instant::now()) {
                return StoreError::Unavailable;
            }
            unavailable(&error)
        })
    }

    /// All connections may have failed since they were last used; each attempt discovers one.
    fn tries(&self) -> Range<u32> {
        0..self.connections.max_size() + MAX_ATTEMPTS
    }
}

fn is_retryable(error: &DieselError) -> bool {
    // SQLSTATE 40001; for 40P01 diesel has no error kind and leaves only the text.
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        DieselError::DatabaseError(_, information) => {
            information.message().contains("deadlock detected")
        }
        _ => false,
    }
}
