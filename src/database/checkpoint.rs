//! WAL checkpoints on a thread of their own, concurrent with the writer.
//!
//! A checkpoint copies the log's pages into the database file and syncs them. The pages of a large
//! database are scattered, and the fewer a checkpoint handles, the longer each takes. By default
//! SQLite's writer does it after a commit, and every other write waits. Here a thread with its own
//! connection does it while commits continue. A log restarts only when all of it is checkpointed,
//! so the writer finishes the checkpoint between two commits: the few pages that were added
//! meanwhile.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;

use super::AnyConnection;
use super::fault::StorageFault;

/// The log length from which a checkpoint is worthwhile, in pages: 16 MiB.
const MIN_PAGES: i64 = 4_096;

/// Units of work after which the thread checks the length of the log. A login writes some 17 pages.
const UNITS_PER_CHECK: usize = 128;

/// The most units of work that the writer adds during a checkpoint: on a disk too slow for both,
/// the log would grow without limit.
const MAX_UNITS_AHEAD: usize = 1_024;

/// The log length, in pages, from which SQLite checkpoints after each commit, should the thread
/// have ended: 64 MiB.
const AUTO_CHECKPOINT_PAGES: usize = 16_384;

/// The log grows during a checkpoint: the most passes until nothing was added meanwhile.
const MAX_PASSES: usize = 16;

/// The writer's side. The thread ends when this is dropped.
pub(super) struct Checkpoints {
    requests: Option<SyncSender<()>>,
    /// Whether the log was long, so that the writer has to finish the checkpoint.
    done: Receiver<bool>,
    thread: Option<JoinHandle<()>>,
    fault: StorageFault,
    is_in_progress: bool,
    units: usize,
}

impl Checkpoints {
    /// Starts the thread, which checkpoints the log of `writer` over the connection `own`.
    #[expect(clippy::expect_used, reason = "without its threads the service must not start")]
    pub(super) fn start(
        writer: &mut AnyConnection,
        own: AnyConnection,
        fault: StorageFault,
    ) -> Self {
        let backstop = format!("PRAGMA wal_autocheckpoint = {AUTO_CHECKPOINT_PAGES}");
        warn_on_error(writer.batch_execute(&backstop), &fault);
        let (requests, requested) = sync_channel(1);
        let (report, done) = sync_channel(1);
        let of_thread = fault.clone();
        let thread = std::thread::Builder::new()
            .name("doorward-checkpoint".into())
            .spawn(move || serve(own, &requested, &report, &of_thread))
            .expect("the system starts a thread");
        let thread = Some(thread);
        Self { requests: Some(requests), done, thread, fault, is_in_progress: false, units: 0 }
    }

    /// To be called after each commit, with its number of units.
    pub(super) fn committed(&mut self, units: usize, writer: &mut AnyConnection) {
        if self.fault.forbids_checkpoints() {
            return;
        }
        self.units += units;
        if self.is_in_progress {
            let was_long = match self.units {
                ..MAX_UNITS_AHEAD => self.done.try_recv().ok(),
                MAX_UNITS_AHEAD.. => self.done.recv().ok(),
            };
            self.is_in_progress = was_long.is_none();
            if was_long == Some(true) {
                warn_on_error(passive_checkpoint(writer), &self.fault);
            }
        } else if self.units >= UNITS_PER_CHECK {
            self.units = 0;
            self.is_in_progress =
                self.requests.as_ref().is_some_and(|requests| requests.send(()).is_ok());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    mut connection: AnyConnection,
    requested: &Receiver<()>,
    report: &SyncSender<bool>,
    fault: &StorageFault,
) {
    for () in requested {
        let was_long = warn_on_error(checkpoint(&mut connection), fault).unwrap_or(false);
        if report.send(was_long).is_err() {
            break;
        }
    }
}

fn warn_on_error<T>(outcome: QueryResult<T>, fault: &StorageFault) -> Option<T> {
    let warn = |error: &DieselError| {
        if !fault.set_if_damaged(error) {
            tracing::warn!(%error, "WAL checkpoint failed");
        }
    };
    outcome.inspect_err(warn).ok()
}

/// Checkpoints a long log; false when it is short or has restarted meanwhile.
///
/// SQLite syncs the database when a pass reaches the end of the log and nothing was added
/// meanwhile. The passes get shorter, so one of them does; then the next has nothing to do. It has
/// nothing to do either while a reader still needs an older snapshot.
fn checkpoint(connection: &mut AnyConnection) -> QueryResult<bool> {
    let mut before = wal_state(connection)?;
    if before.log < MIN_PAGES {
        return Ok(false);
    }
    for _ in 0..MAX_PASSES {
        let now = passive_checkpoint(connection)?;
        if now.log < before.log {
            return Ok(false);
        }
        if now.checkpointed == before.checkpointed {
            break;
        }
        before = now;
    }
    Ok(true)
}

/// The log, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
struct WalState {
    #[diesel(sql_type = BigInt)]
    log: i64,
    /// The number of its pages that are in the database file.
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

fn wal_state(connection: &mut AnyConnection) -> QueryResult<WalState> {
    diesel::sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(connection)
}

/// The log length in pages.
pub(super) fn pages(connection: &mut AnyConnection) -> QueryResult<i64> {
    Ok(wal_state(connection)?.log)
}

/// Checkpoints as much as possible without waiting.
fn passive_checkpoint(connection: &mut AnyConnection) -> QueryResult<WalState> {
    diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::database::connection::Manager;
    use crate::database::{DatabaseSettings, DatabaseUrl};
    use crate::secret::Secret;

    /// A log of more than [`MIN_PAGES`], by one commit.
    const LONG: &str = "WITH RECURSIVE numbers (n) AS
                            (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 1100)
                        INSERT INTO pages SELECT zeroblob(16384) FROM numbers";

    const SHORT: &str = "INSERT INTO pages VALUES (zeroblob(1))";

    /// Two connections to one file, with automatic checkpoints off.
    struct File {
        writer: AnyConnection,
        home: tempfile::TempDir,
    }

    impl File {
        fn make() -> (Self, AnyConnection) {
            let home = tempfile::tempdir().unwrap();
            let url =
                Secret::new(format!("sqlite://{}", home.path().join("doorward.db").display()));
            let settings = DatabaseSettings {
                url: DatabaseUrl::parse(&url).unwrap(),
                pool_size: 1,
                statement_timeout: Duration::from_secs(1),
                migrate: true,
            };
            let manager = Manager::new(&settings, Duration::from_secs(1));
            let [mut writer, own] = [(); 2].map(|()| manager.open().unwrap());
            writer.batch_execute("CREATE TABLE pages (page BLOB NOT NULL)").unwrap();
            (Self { writer, home }, own)
        }

        /// The state of the log afterwards.
        fn write(&mut self, rows: &str) -> WalState {
            self.writer.batch_execute("PRAGMA wal_autocheckpoint = 0").unwrap();
            self.writer.batch_execute(rows).unwrap();
            wal_state(&mut self.writer).unwrap()
        }
    }

    #[test]
    fn only_a_long_log_is_checkpointed() {
        let (mut file, mut own) = File::make();
        let short = file.write(SHORT);
        assert!(!checkpoint(&mut own).unwrap());
        assert_eq!(wal_state(&mut own).unwrap(), short);
        assert_eq!(short.checkpointed, 0);

        let long = file.write(LONG);
        assert!(long.log >= MIN_PAGES && long.checkpointed == 0, "{long:?}");
        assert!(checkpoint(&mut own).unwrap());
        assert_eq!(wal_state(&mut own).unwrap(), WalState { checkpointed: long.log, ..long });
        assert!(file.write(SHORT).log < 10, "the log restarted");
    }

    #[test]
    fn the_writer_finishes_the_checkpoint_and_waits_when_too_far_ahead() {
        let (mut file, own) = File::make();
        let fault = StorageFault::new(file.home.path());
        let mut checkpoints = Checkpoints::start(&mut file.writer, own, fault);
        assert!(file.write(LONG).log >= MIN_PAGES);
        checkpoints.committed(UNITS_PER_CHECK, &mut file.writer);
        assert!(checkpoints.is_in_progress);
        // The thread may be done by now; then this is all that the log has.
        file.write(SHORT);
        checkpoints.committed(MAX_UNITS_AHEAD, &mut file.writer);
        assert!(!checkpoints.is_in_progress);
        let done = wal_state(&mut file.writer).unwrap();
        assert_eq!(done.checkpointed, done.log);
        assert!(file.write(SHORT).log < 10, "the log restarted");
    }
}
