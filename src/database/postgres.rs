//! PostgreSQL: a connection pool that survives server failures and hung connections.
//!
//! Diesel's calls have no deadline. The kernel ends a connection whose peer is gone
//! ([`url`](super::url) sets how soon), but not one whose peer acknowledges data and never
//! responds. So a unit runs on a thread of its own, and its caller stops waiting at a deadline;
//! then the pool that it came from is abandoned and a new one replaces it. The unit may still be
//! answered much later: it then begins no transaction and commits none.

use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::ConnectionError;
use diesel::r2d2::ManageConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{QueryResult, r2d2};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connection::Manager;
use super::connection_refusals::ConnectionRefusals;
use super::listen::Listener;
use super::open_error::one_line;
use super::{
    AnyConnection, CONNECTION_TIMEOUT, Hook, StoreError, TIME_WAITED, Tx, TxState, classify,
    guarded, in_span, unavailable,
};
use crate::locks;

/// The statement that begins a unit that writes.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// How often a unit is attempted when PostgreSQL asks for a retry.
const MAX_ATTEMPTS: u32 = 5;

/// How much longer than one statement's timeout a unit may take before its caller stops waiting.
const CALLER_SLACK: Duration = Duration::from_millis(800);

/// The maximum number of abandoned pools that still have a blocked thread. Beyond it, no new pool
/// is created until one of those threads returns.
const MAX_ABANDONED_POOLS: usize = 4;

/// Connections to PostgreSQL.
pub(super) struct Postgres {
    manager: Manager,
    size: u32,
    deadline: Duration,
    pool: RwLock<Arc<Pool>>,
    abandoned: Arc<AtomicUsize>,
    refusals: Arc<ConnectionRefusals>,
    listener: Mutex<Option<Box<Listener>>>,
}

/// It runs as many units at a time as the settings allow connections; further callers wait without
/// a thread.
struct Pool {
    connections: ::r2d2::Pool<PgManager>,
    permits: Arc<Semaphore>,
    refusals: Arc<ConnectionRefusals>,
    is_abandoned: AtomicBool,
    abandoned: Arc<AtomicUsize>,
}

impl Postgres {
    pub(super) fn new(manager: Manager, size: u32, statement_timeout: Duration) -> Self {
        let refusals = Arc::new(ConnectionRefusals::beside_pool_of(size));
        Self::sharing(refusals, manager, size, statement_timeout + CALLER_SLACK)
    }

    /// The same for a node that serves. The connections beside its pool are opened first: where a
    /// pooler has too few places the pool would take them all.
    pub(super) fn serving(manager: Manager, size: u32, statement_timeout: Duration) -> Self {
        let refusals = Arc::new(ConnectionRefusals::beside_pool_of(size));
        let deadline = statement_timeout + CALLER_SLACK;
        let beside = || Self::sharing(Arc::clone(&refusals), manager.uncounted(), 1, deadline);
        let pg_manager = PgManager::new(&manager.uncounted(), &refusals);
        let listener = Listener::open(beside(), beside(), pg_manager);
        refusals.record_if_unanswered(Instant::now());
        let listener = Mutex::new(Some(Box::new(listener)));
        Self { listener, ..Self::sharing(refusals, manager, size, deadline) }
    }

    /// The connections beside the pool: those that were opened at the start, or others.
    pub(super) fn listener(&self) -> Box<Listener> {
        let opened = locks::lock(&self.listener).take();
        opened.unwrap_or_else(|| {
            let (queries, notifications) = (self.another(1), self.another(1));
            Box::new(Listener::new(queries, notifications, self.pg_manager(), None))
        })
    }

    /// Waits until there is a connection; false when that takes too long.
    pub(super) fn has_connected_by(&self, deadline: Instant) -> bool {
        let pool = Arc::clone(&locks::read(&self.pool));
        pool.connections.get_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }

    fn sharing(
        refusals: Arc<ConnectionRefusals>,
        manager: Manager,
        size: u32,
        deadline: Duration,
    ) -> Self {
        let abandoned = Arc::default();
        let pool = RwLock::new(Pool::open(PgManager::new(&manager, &refusals), size, &abandoned));
        Self { manager, size, deadline, pool, abandoned, refusals, listener: Mutex::default() }
    }

    /// A second pool to the same server.
    pub(super) fn another(&self, size: u32) -> Self {
        let refusals = Arc::clone(&self.refusals);
        Self::sharing(refusals, self.manager.uncounted(), size, self.deadline)
    }

    /// Creates connections outside the pools.
    pub(super) fn pg_manager(&self) -> PgManager {
        PgManager::new(&self.manager.uncounted(), &self.refusals)
    }

    /// The state of the current pool.
    pub(super) fn state(&self) -> ::r2d2::State {
        locks::read(&self.pool).connections.state()
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        mut unit: impl FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |pool, _| pool.read(&mut unit)).await
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        mut unit: impl FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
        start: TxState,
    ) -> Result<T, StoreError> {
        self.run(move |pool, caller| pool.write(&mut unit, start, caller)).await
    }

    /// Runs `work` on a thread that may block, and returns in time even if the thread does not.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pool, &CallerAlive) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let caller = CallerAlive::default();
        let pool = Arc::clone(&locks::read(&self.pool));
        let finished = async {
            let permit =
                timeout(CONNECTION_TIMEOUT, Arc::clone(&pool.permits).acquire_owned()).await;
            let Ok(Ok(permit)) = permit else {
                return Err(unavailable(&"every connection is in use"));
            };
            let (pool, caller) = (Arc::clone(&pool), caller.clone());
            let work = in_span(move || {
                let _permit = permit;
                work(&pool, &caller)
            });
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Failed))
        };
        let spent = TIME_WAITED.try_with(Cell::get).unwrap_or_default();
        let began = Instant::now();
        let result = timeout(self.deadline.saturating_sub(spent), finished).await;
        let _ = TIME_WAITED.try_with(|total| total.set(spent + began.elapsed()));
        result.unwrap_or_else(|_| {
            caller.mark_gone();
            // A unit that had little time left says nothing about the connections.
            if began.elapsed() >= self.deadline {
                self.abandon(&pool);
            }
            Err(unavailable(&"no response in time"))
        })
    }

    /// Replaces a pool that has a blocked thread.
    fn abandon(&self, stuck: &Arc<Pool>) {
        let mut current = locks::write(&self.pool);
        let is_current = Arc::ptr_eq(&current, stuck);
        if is_current && self.abandoned.load(Ordering::Relaxed) < MAX_ABANDONED_POOLS {
            tracing::warn!("replacing the connection pool: a connection stopped responding");
            stuck.is_abandoned.store(true, Ordering::Relaxed);
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            let pg_manager = PgManager::new(&self.manager, &self.refusals);
            *current = Pool::open(pg_manager, self.size, &self.abandoned);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if *self.is_abandoned.get_mut() {
            self.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Pool {
    fn open(pg_manager: PgManager, size: u32, abandoned: &Arc<AtomicUsize>) -> Arc<Self> {
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

    fn read<T>(
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
    fn write<T>(
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
            // It has said so, and would for every request.
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

/// Whether the caller of a unit is still waiting. A caller that was answered with an error has
/// retried since and continued: the unit would then mistake that retry for a reuse of the token.
#[derive(Clone, Default)]
pub(super) struct CallerAlive(Arc<AtomicBool>);

impl CallerAlive {
    fn mark_gone(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn ensure_alive(&self) -> QueryResult<()> {
        if self.0.load(Ordering::Relaxed) {
            let why = Box::new("the caller of this unit of work is no longer waiting".to_owned());
            return Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, why));
        }
        Ok(())
    }
}

/// A connection, and whether it is still usable.
pub(super) struct PgConnectionState {
    connection: AnyConnection,
    is_broken: bool,
}

impl Deref for PgConnectionState {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for PgConnectionState {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl PgConnectionState {
    /// Runs a statement; on failure the connection is broken and not used again.
    fn execute_or_mark_broken(&mut self, statement: &str) -> bool {
        self.is_broken |= self.connection.batch_execute(statement).is_err();
        self.is_broken
    }

    /// Runs the unit, and ends the transaction if one was begun.
    fn transact<T>(
        &mut self,
        hooks: &mut Vec<Hook>,
        state: &mut TxState,
        unit: &mut impl FnMut(&mut Tx<'_>) -> QueryResult<T>,
        caller: &CallerAlive,
    ) -> QueryResult<T> {
        let connection = &mut self.connection;
        let mut result = guarded(|| unit(&mut Tx { connection, hooks, state, caller }));
        if *state == TxState::InTransaction {
            // If the response is lost, it is unknown whether the commit was made.
            result = result.and_then(|value| {
                caller.ensure_alive()?;
                self.connection.batch_execute("COMMIT").map(|()| value)
            });
        }
        if let Err(error) = &result {
            // A server that rejects writes is not the primary any more.
            self.is_broken |= matches!(
                error,
                DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)
            );
            self.execute_or_mark_broken(if *state == TxState::InTransaction {
                "ROLLBACK"
            } else {
                "SELECT 1"
            });
        }
        result
    }
}

/// Opens connections for r2d2, and returns usable ones to the pool.
#[derive(Clone)]
pub(super) struct PgManager {
    manager: Manager,
    refusals: Arc<ConnectionRefusals>,
}

impl PgManager {
    fn new(manager: &Manager, refusals: &Arc<ConnectionRefusals>) -> Self {
        Self { manager: manager.clone(), refusals: Arc::clone(refusals) }
    }

    /// A new connection, unless the server refused one a moment ago because it has none left.
    pub(super) fn another(&self) -> Result<AnyConnection, r2d2::Error> {
        if let Some(said) = self.refusals.paused_with(Instant::now()) {
            return Err(r2d2::Error::ConnectionError(ConnectionError::BadConnection(said)));
        }
        let made = {
            let _attempt = self.refusals.attempt(Instant::now());
            self.manager.connect()
        };
        match &made {
            Ok(_) => self.refusals.clear(),
            Err(error) => self.refusals.record(Instant::now(), &one_line(error)),
        }
        made
    }
}

impl PgManager {
    /// A connection, if there is one by then: an attempt may take as long as a pooler lets it wait.
    pub(super) fn another_by(&self, deadline: Instant) -> Option<AnyConnection> {
        let (made, waits) = mpsc::sync_channel(1);
        let manager = self.clone();
        let attempt = move || {
            // With nobody waiting any more it is closed.
            let _ = made.send(manager.another());
        };
        thread::Builder::new().name("doorward-connect".into()).spawn(attempt).ok()?;
        waits.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?.ok()
    }
}

impl ManageConnection for PgManager {
    type Connection = PgConnectionState;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<PgConnectionState, Self::Error> {
        Ok(PgConnectionState { connection: self.another()?, is_broken: false })
    }

    fn is_valid(&self, _: &mut PgConnectionState) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut PgConnectionState) -> bool {
        let has_broken = connection.is_broken || thread::panicking();
        if has_broken {
            self.refusals.clear();
        }
        has_broken
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
