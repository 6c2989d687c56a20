//! Checkpoints of SQLite's log beside its writer.
//!
//! A checkpoint brings what the log has into the database's own pages and syncs them. Those of a
//! large database are scattered: a thousand take some 20 ms to sync, eight thousand 50 ms. SQLite
//! would have the writer do it after a commit, and everybody wait. Here a thread with a connection
//! of its own does it while commits go on. A log begins anew only when nothing of it is left to do,
//! so the writer does the last of it between two commits: the few pages that came meanwhile.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use diesel::QueryResult;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::AnyConnection;

/// Pages that the log has before it is worth going through: 16 MiB.
const PAGES: i64 = 4_096;

/// Units of work after which the thread looks how long the log is. A login writes some 17 pages.
const LOOK: usize = 128;

/// Pages in the log from which on SQLite has the writer do it all the same, after each commit:
/// 64 MiB, for a thread that has ended or is far too slow.
const BACKSTOP: usize = 16_384;

/// The log grows while it is gone through: this often at most, until nothing has come meanwhile.
const PASSES: usize = 16;

/// The writer's side of it. The thread ends when this is dropped.
pub(super) struct Checkpoints {
    turns: Option<SyncSender<()>>,
    /// Whether the log was long, and now there is little of it left to do.
    done: Receiver<bool>,
    thread: Option<JoinHandle<()>>,
    is_under_way: bool,
    units: usize,
}

impl Checkpoints {
    /// `writer` leaves its log to `own` from now on.
    #[expect(clippy::expect_used, reason = "without its threads the service must not start")]
    pub(super) fn start(writer: &mut AnyConnection, own: AnyConnection) -> Self {
        let backstop = format!("PRAGMA wal_autocheckpoint = {BACKSTOP}");
        warn_of(writer.batch_execute(&backstop));
        let (turns, asked) = sync_channel(1);
        let (told, done) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("doorward-checkpoint".into())
            .spawn(move || serve(own, &asked, &told))
            .expect("the system starts a thread");
        Self { turns: Some(turns), done, thread: Some(thread), is_under_way: false, units: 0 }
    }

    /// To be called after each commit, with how many units it had.
    pub(super) fn committed(&mut self, units: usize, writer: &mut AnyConnection) {
        self.units += units;
        if self.is_under_way {
            if let Ok(is_nearly_done) = self.done.try_recv() {
                self.is_under_way = false;
                if is_nearly_done {
                    warn_of(pass(writer));
                }
            }
        } else if self.units >= LOOK {
            self.units = 0;
            self.is_under_way = self.turns.as_ref().is_some_and(|turns| turns.send(()).is_ok());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.turns = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut connection: AnyConnection, asked: &Receiver<()>, told: &SyncSender<bool>) {
    for () in asked {
        let is_nearly_done = warn_of(go_through(&mut connection)).unwrap_or(false);
        if told.send(is_nearly_done).is_err() {
            break;
        }
    }
}

fn warn_of<T>(outcome: QueryResult<T>) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(%error, "SQLite's log did not get into the database"))
        .ok()
}

/// Goes through a log that is long, and says whether it was. SQLite syncs the database when it comes
/// to the end of the log and nobody has added to it: a pass with nothing to do says that the one
/// before it did.
fn go_through(connection: &mut AnyConnection) -> QueryResult<bool> {
    let Log { log, mut checkpointed } = look(connection)?;
    if log < PAGES {
        return Ok(false);
    }
    for _ in 0..PASSES {
        let before = checkpointed;
        checkpointed = pass(connection)?.checkpointed;
        if checkpointed == before {
            break;
        }
    }
    Ok(true)
}

/// The log, in pages.
#[derive(QueryableByName)]
struct Log {
    #[diesel(sql_type = BigInt)]
    log: i64,
    /// How many of them are in the database.
    #[diesel(sql_type = BigInt)]
    checkpointed: i64,
}

fn look(connection: &mut AnyConnection) -> QueryResult<Log> {
    diesel::sql_query("PRAGMA wal_checkpoint(NOOP)").get_result(connection)
}

/// Brings over as much as can be without waiting for anybody.
fn pass(connection: &mut AnyConnection) -> QueryResult<Log> {
    diesel::sql_query("PRAGMA wal_checkpoint(PASSIVE)").get_result(connection)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::database::connection::Manager;
    use crate::database::{DatabaseSettings, DatabaseUrl};
    use crate::secret::Secret;

    /// More commits than the thread ever needs to be done.
    const ENOUGH: usize = 1_000_000;

    #[test]
    fn a_long_log_begins_anew_while_commits_go_on_and_without_the_writers_own_checkpoints() {
        let home = tempfile::tempdir().unwrap();
        let url = Secret::new(format!("sqlite://{}", home.path().join("doorward.db").display()));
        let settings = DatabaseSettings {
            url: DatabaseUrl::parse(&url).unwrap(),
            pool_size: 1,
            statement_timeout: Duration::from_secs(1),
            migrate: true,
        };
        let manager = Manager::new(&settings, Duration::from_secs(1));
        let [mut writer, own] = [(); 2].map(|()| manager.open().unwrap());
        let mut checkpoints = Checkpoints::start(&mut writer, own);
        writer
            .batch_execute(
                "PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE pages (page BLOB NOT NULL);",
            )
            .unwrap();
        let (mut longest, mut written) = (0, 0);
        for _ in 0..ENOUGH {
            writer.batch_execute("INSERT INTO pages VALUES (zeroblob(16384))").unwrap();
            written += 1;
            checkpoints.committed(LOOK, &mut writer);
            let Log { log, .. } = look(&mut writer).unwrap();
            if log < longest {
                break;
            }
            longest = log;
        }
        assert!(longest >= PAGES, "{longest}");
        assert!(look(&mut writer).unwrap().log < longest, "it began anew");
        drop(checkpoints);
        let count = "SELECT count(*) AS log, 0 AS checkpointed FROM pages";
        let found: Log = diesel::sql_query(count).get_result(&mut writer).unwrap();
        assert_eq!(found.log, written);
    }
}
