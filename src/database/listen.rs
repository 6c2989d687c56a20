//! Dedicated PostgreSQL connections for LISTEN/NOTIFY and polling, apart from those of the
//! requests: neither waits for the other.
//!
//! Notifications are fast but guarantee nothing: one may be lost, and a connection may be dead
//! without notice. So the user of a [`Listener`] has to poll as well.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{PgConnection, QueryResult};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::connection_refusals::RefusalReason;
use super::postgres::{PgManager, Postgres};
use super::{AnyConnection, StoreError};
use crate::locks;

/// How often a listening connection is polled. Safe code cannot use libpq's blocking wait, and a
/// poll is one non-blocking `recv`.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A listener that receives nothing for this long, not even from its own node, is considered dead.
/// The user of a [`Listener`] notifies more often than that.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// The delay before an ended listener is replaced.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How long a start waits for these connections.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of listeners stuck in a connection that never responds; then no more are
/// started.
const MAX_THREADS: usize = 4;

/// Two connections for queries and one that listens, each replaced when it fails.
pub struct Listener {
    queries: Postgres,
    notifications: Postgres,
    pg_manager: PgManager,
    threads: Arc<AtomicUsize>,
    /// The first connection that listens, opened at the start.
    first: Mutex<Option<AnyConnection>>,
}

impl Listener {
    pub(super) fn new(
        queries: Postgres,
        notifications: Postgres,
        pg_manager: PgManager,
        first: Option<AnyConnection>,
    ) -> Self {
        let (threads, first) = (Arc::default(), Mutex::new(first));
        Self { queries, notifications, pg_manager, threads, first }
    }

    /// Creates a listener and opens its connections, as far as the server accepts them in time.
    pub(super) fn open(queries: Postgres, notifications: Postgres, pg_manager: PgManager) -> Self {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let first = pg_manager.another_by(deadline);
        let _ = queries.has_connected_by(deadline) && notifications.has_connected_by(deadline);
        Self::new(queries, notifications, pg_manager, first)
    }

    /// Closes the connection that was opened to listen, for a node that does not.
    pub fn close_unused(&self) {
        drop(locks::lock(&self.first).take());
    }

    /// Runs a unit that only reads, always on the same connection while that lives.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot answer in time.
    pub async fn query<T, F>(&self, unit: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut AnyConnection) -> QueryResult<T> + Send + 'static,
    {
        self.queries.read(unit).await
    }

    /// Notifies every listener of this channel, this node's own included.
    ///
    /// # Errors
    /// [`StoreError`] when the notification may not have been sent.
    pub async fn notify(&self, channel: &'static str) -> Result<(), StoreError> {
        // A lost notification loses no data, so it does not wait for a disk.
        let statement = format!("SET synchronous_commit = off; NOTIFY {channel}");
        self.notifications.read(move |connection| connection.batch_execute(&statement)).await
    }

    /// Calls `notify` after every notification on this channel, and after every reconnection, since
    /// one may have been missed. Runs until it is dropped.
    pub async fn listen(&self, channel: &'static str, notify: impl Fn() + Send + Sync + 'static) {
        let notify = Arc::new(notify);
        loop {
            if self.threads.load(Ordering::Relaxed) < MAX_THREADS {
                ListenThread::start(self, channel, Arc::clone(&notify)).until_unresponsive().await;
            }
            sleep(RESTART_DELAY).await;
        }
    }
}

/// A listening thread. It ends when this is dropped, as soon as its connection allows it.
struct ListenThread {
    shared: Arc<ListenState>,
    ended: oneshot::Receiver<()>,
}

#[derive(Default)]
struct ListenState {
    received: AtomicU64,
    is_stopped: AtomicBool,
}

impl ListenThread {
    fn start(
        listener: &Listener,
        channel: &str,
        notify: Arc<impl Fn() + Send + Sync + 'static>,
    ) -> Self {
        let shared = Arc::new(ListenState::default());
        let (end, ended) = oneshot::channel();
        let (own, pg_manager, count) =
            (Arc::clone(&shared), listener.pg_manager.clone(), Arc::clone(&listener.threads));
        let first = locks::lock(&listener.first).take();
        let statement = format!("LISTEN {channel}");
        count.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new().name("doorward-listener".into()).spawn(move || {
            let result = own.serve(first, &pg_manager, &statement, &*notify);
            // The connection manager has logged it.
            let is_new = |error: &String| RefusalReason::of(error) != Some(RefusalReason::Full);
            if let Some(error) = result.err().filter(is_new) {
                tracing::warn!(error, "LISTEN failed; falling back to polling");
            }
            count.fetch_sub(1, Ordering::Relaxed);
            drop(end);
        });
        if started.is_err() {
            listener.threads.fetch_sub(1, Ordering::Relaxed);
        }
        Self { shared, ended }
    }

    /// Completes when the thread has ended or receives nothing any more.
    async fn until_unresponsive(mut self) {
        let mut known = 0;
        while timeout(SILENCE_TIMEOUT, &mut self.ended).await.is_err() {
            let received = self.shared.received.load(Ordering::Relaxed);
            if received == known {
                tracing::warn!("the LISTEN connection is unresponsive; reconnecting");
                return;
            }
            known = received;
        }
    }
}

impl Drop for ListenThread {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }
}

impl ListenState {
    fn serve(
        &self,
        first: Option<AnyConnection>,
        pg_manager: &PgManager,
        statement: &str,
        notify: &dyn Fn(),
    ) -> Result<(), String> {
        let connection = match first {
            Some(connection) => connection,
            None => pg_manager.another().map_err(|error| error.to_string())?,
        };
        let AnyConnection::Postgres(mut connection) = connection else { return Ok(()) };
        connection.batch_execute(statement).map_err(|error| error.to_string())?;
        notify();
        while !self.is_stopped.load(Ordering::Relaxed) {
            match pending(&mut connection).map_err(|error| error.to_string())? {
                0 => thread::sleep(POLL_INTERVAL),
                count => {
                    self.received.fetch_add(count, Ordering::Relaxed);
                    notify();
                }
            }
        }
        Ok(())
    }
}

/// The number of pending notifications.
fn pending(connection: &mut PgConnection) -> QueryResult<u64> {
    connection.notifications_iter().try_fold(0, |count, next| next.map(|_| count + 1))
}
