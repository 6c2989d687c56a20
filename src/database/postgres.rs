//! PostgreSQL: a connection pool that survives server failures and hung connections.
//!
//! Diesel's calls have no deadline. The kernel ends a connection whose peer is gone
//! ([`url`](super::url) sets how soon), but not one whose peer acknowledges data and never
//! responds. So a unit runs on a separate thread, and its caller stops waiting at a deadline; then
//! the pool that it came from is abandoned and a new one replaces it. The unit may still be
//! answered much later: it then begins no transaction and commits none.

mod caller_alive;
mod connections;
mod pool;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use diesel::QueryResult;
use tokio::time::{Instant, timeout};

pub(super) use caller_alive::CallerAlive;
pub(super) use connections::PgManager;

use super::connection::Manager;
use super::connection_refusals::ConnectionRefusals;
use super::deadline::TIME_WAITED;
use super::listen::Listener;
use super::{AnyConnection, CONNECTION_TIMEOUT, StoreError, Tx, TxState, in_span, unavailable};
use crate::locks;
use pool::Pool;

/// The statement that begins a unit that writes.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

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

impl Postgres {
    pub(super) fn new(manager: Manager, size: u32, statement_timeout: Duration) -> Self {
        let refusals = Arc::new(ConnectionRefusals::for_pool_of(size));
        Self::sharing(refusals, manager, size, statement_timeout + CALLER_SLACK)
    }

    /// The same for a node that serves. The connections beside its pool are opened first: if a
    /// pooler allows too few connections, the pool would take them all.
    pub(super) fn serving(manager: Manager, size: u32, statement_timeout: Duration) -> Self {
        let refusals = Arc::new(ConnectionRefusals::for_pool_of(size));
        let deadline = statement_timeout + CALLER_SLACK;
        let beside = || Self::sharing(Arc::clone(&refusals), manager.uncounted(), 1, deadline);
        let pg_manager = PgManager::new(&manager.uncounted(), &refusals);
        let listener = Listener::open(beside(), beside(), pg_manager);
        refusals.record_if_unanswered(Instant::now());
        let listener = Mutex::new(Some(Box::new(listener)));
        Self { listener, ..Self::sharing(refusals, manager, size, deadline) }
    }

    /// Returns the connections outside the pool: those opened at the start, or new ones.
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
