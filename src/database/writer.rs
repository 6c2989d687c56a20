//! SQLite's writer: a thread that owns the write connection and commits units in groups.
//!
//! A commit costs an fsync, and an fsync costs milliseconds. During a commit further units queue
//! up; the next commit takes them all. Each runs in its own savepoint, so that a failed one does
//! not affect the others, and no response is sent, not even a rejection, before the commit that it
//! depends on.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::result::Error as DieselError;
use tokio::sync::oneshot;
use tracing::Span;

use super::checkpoint::Checkpoints;
use super::fault::StorageFault;
use super::file_identity::{self, FileIdentity};
use super::postgres::CallerAlive;
use super::{AnyConnection, Hook, StoreError, Tx, TxState, guarded, unavailable};
use crate::metrics::Histogram;

/// The maximum number of units in one commit: it limits how long the first of them waits for the
/// last.
const UNITS_PER_COMMIT: usize = 256;

/// The buckets of the metric of groups: powers of two up to [`UNITS_PER_COMMIT`].
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The capacity of the queue; a unit beyond it fails immediately as unavailable.
const MAX_QUEUED_UNITS: usize = 4096;

/// A handle to the writer thread, which ends when this is dropped and the queue is empty.
pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn WriteUnit>>>,
    thread: Option<JoinHandle<()>>,
    waiting: Arc<AtomicUsize>,
    groups: Histogram,
}

impl Writer {
    #[expect(clippy::expect_used, reason = "without its writer the service must not start")]
    pub(super) fn start(
        connection: AnyConnection,
        checkpoints: Checkpoints,
        files: Option<FileIdentity>,
        fault: StorageFault,
    ) -> Self {
        let (queue, units) = sync_channel(MAX_QUEUED_UNITS);
        let (waiting, groups) = (Arc::default(), Histogram::new(GROUP_SIZES));
        let work =
            WriterQueue { units, waiting: Arc::clone(&waiting), groups: groups.clone(), fault };
        let thread = std::thread::Builder::new()
            .name("doorward-writer".into())
            .spawn(move || serve(connection, checkpoints, files, &work))
            .expect("the system starts a thread");
        Self { queue: Some(queue), thread: Some(thread), waiting, groups }
    }

    /// The number of units waiting for their commit to begin.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The numbers of units per commit.
    pub(super) const fn groups(&self) -> &Histogram {
        &self.groups
    }

    /// Runs a unit in the next group and returns when it is on disk.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let span = Span::current();
        let unit = QueuedUnit { work, span, hooks: Vec::new(), value: None, answer };
        let queue = self.queue.as_ref().ok_or(StoreError::Unavailable)?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = queue.try_send(Box::new(unit));
        if sent.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match sent {
            Ok(()) => result.await.unwrap_or(Err(StoreError::Unavailable)),
            Err(TrySendError::Full(_)) => Err(unavailable(&"the writer's queue is full")),
            Err(TrySendError::Disconnected(_)) => Err(unavailable(&"the writer has ended")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let own =
            self.thread.as_ref().is_some_and(|t| t.thread().id() == std::thread::current().id());
        if let Some(thread) = self.thread.take().filter(|_| !own) {
            let _ = thread.join();
        }
    }
}

/// A queued unit: it runs in queue order, and its caller gets the result after the commit.
trait WriteUnit: Send {
    fn run(&mut self, connection: &mut AnyConnection, fault: &StorageFault) -> QueryResult<()>;
    fn settle(self: Box<Self>, commit: Result<(), StoreError>);
}

struct QueuedUnit<T, F> {
    work: F,
    /// The request's span, for log lines on its behalf.
    span: Span,
    hooks: Vec<Hook>,
    value: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> WriteUnit for QueuedUnit<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> QueryResult<T> + Send,
{
    fn run(&mut self, connection: &mut AnyConnection, fault: &StorageFault) -> QueryResult<()> {
        let Self { work, span, hooks, .. } = self;
        let _entered = span.enter();
        let (state, caller) = (&mut TxState::InTransaction, &CallerAlive::default());
        let result = guarded(|| work(&mut Tx { connection, hooks, state, caller, actor: None }));
        match result {
            Ok(value) => {
                self.value = Some(Ok(value));
                Ok(())
            }
            Err(error) => {
                self.value = Some(Err(fault.classify(&error)));
                self.hooks.clear();
                Err(error)
            }
        }
    }

    fn settle(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { hooks, value, answer, span, .. } = *self;
        let _entered = span.enter();
        let value = commit.and_then(|()| value.unwrap_or(Err(StoreError::Unavailable)));
        if value.is_ok() {
            for hook in hooks {
                hook();
            }
        }
        // The caller may be gone; a commit stays committed.
        let _ = answer.send(value);
    }
}

/// The writer's end of the queue.
struct WriterQueue {
    units: Receiver<Box<dyn WriteUnit>>,
    waiting: Arc<AtomicUsize>,
    groups: Histogram,
    fault: StorageFault,
}

impl WriterQueue {
    fn taken(&self, units: usize) {
        self.waiting.fetch_sub(units, Ordering::Relaxed);
    }
}

fn serve(
    mut connection: AnyConnection,
    mut checkpoints: Checkpoints,
    mut files: Option<FileIdentity>,
    work: &WriterQueue,
) {
    let mut hold = move |connection: &mut AnyConnection| match &mut files {
        Some(files) => files.is_unchanged(connection),
        None => work.fault.get().is_none(),
    };
    loop {
        let first = match work.units.recv_timeout(file_identity::COMPARE_INTERVAL) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                hold(&mut connection);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut group = vec![first];
        group.extend(work.units.try_iter().take(UNITS_PER_COMMIT - 1));
        work.taken(group.len());
        work.groups.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
        // A unit's own panic is caught with the unit. Any other must not end this thread: no write
        // would ever succeed again.
        let commit = catch_unwind(AssertUnwindSafe(|| {
            if !hold(&mut connection) {
                return Err(StoreError::Unavailable);
            }
            commit(&mut connection, &mut group, work)?;
            // The commit may have been lost with a file that vanished during it.
            if hold(&mut connection) { Ok(()) } else { Err(StoreError::Unavailable) }
        }))
        .unwrap_or_else(|_| {
            let _ = connection.batch_execute("ROLLBACK");
            Err(StoreError::Failed)
        });
        let units = group.len();
        for unit in group {
            let _ = catch_unwind(AssertUnwindSafe(|| unit.settle(commit)));
        }
        let _ = catch_unwind(AssertUnwindSafe(|| checkpoints.committed(units, &mut connection)));
    }
    if work.fault.forbids_checkpoints() {
        // Closing SQLite's last connection would copy the log into the database. This one stays
        // open until the process has ended.
        mem::forget(connection);
    }
}

fn commit(
    connection: &mut AnyConnection,
    group: &mut Vec<Box<dyn WriteUnit>>,
    work: &WriterQueue,
) -> Result<(), StoreError> {
    if let Err(error) = connection.batch_execute("BEGIN IMMEDIATE") {
        // Another process holds the lock. Units that have queued up meanwhile fail too: as a group
        // of their own they would wait just as long again.
        let before = group.len();
        group.extend(work.units.try_iter());
        work.taken(group.len() - before);
        return Err(roll_back(connection, &error, &work.fault));
    }
    transaction(connection, group, &work.fault)
        .map_err(|error| roll_back(connection, &error, &work.fault))
}

/// SQLite may have ended the transaction itself (disk full, I/O error) or left it open (a rejected
/// commit); in both cases nothing of it stays.
fn roll_back(
    connection: &mut AnyConnection,
    cause: &DieselError,
    fault: &StorageFault,
) -> StoreError {
    let _ = connection.batch_execute("ROLLBACK");
    fault.unavailable(cause)
}

fn transaction(
    connection: &mut AnyConnection,
    group: &mut [Box<dyn WriteUnit>],
    fault: &StorageFault,
) -> QueryResult<()> {
    for unit in group {
        connection.batch_execute("SAVEPOINT unit")?;
        // If SQLite ended the whole transaction during the unit, the savepoint is gone and this
        // fails: the units before have lost their work, and one after would be committed alone, by
        // its own savepoint.
        match unit.run(connection, fault) {
            Ok(()) => connection.batch_execute("RELEASE unit")?,
            Err(_) => connection.batch_execute("ROLLBACK TO unit; RELEASE unit")?,
        }
    }
    // None of them is acknowledged once there is a fault.
    connection.batch_execute(if fault.get().is_none() { "COMMIT" } else { "ROLLBACK" })
}
