//! Syncs the revocations of other processes into this node's list.
//!
//! With SQLite the file's change counter is polled. With PostgreSQL a notification usually arrives
//! within milliseconds; the guarantee is a poll once a second that misses no row. Rows become
//! visible in another order than they were created in, so neither an id nor a time can serve as the
//! cursor. Each row carries the id of the transaction that inserted it, and a poll starts from the
//! oldest transaction that was still in progress at the previous poll: everything older was visible
//! then. Transaction ids are specific to one server, so a poll over another connection than the
//! previous one reads everything; the connection itself stores its identity.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};
use uuid::Uuid;

use super::Revocations;
use super::queries::stored_entries;
use crate::clock::{Clock, Timestamp};
use crate::database::sql_types::IdSql;
use crate::database::time::{POSTGRES_MICROS, server_time};
use crate::database::{AnyConnection, DataVersionPoller, Id, Listener, StoreError, Tx};
use crate::locks;

/// How often the file is polled for revocations of other processes.
const FILE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How often the database is polled, even without notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often the nodes notify each other to show that notifications arrive. It is shorter than the
/// time after which a [`Listener`] considers a listener dead.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// The channel for notifications of revocations only.
const CHANNEL: &str = "doorward_revocations";

/// How a node on PostgreSQL syncs other nodes' revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Notifications, and polling from a transaction id.
    Listen,
    /// The whole list, read again every second: for systems that implement PostgreSQL's protocol
    /// without these, such as a pooler in transaction mode.
    Poll,
}

impl Revocations {
    /// Syncs other processes' writes to the file (the command line, or a second instance that
    /// starts while this one drains), until it is dropped. While the file cannot be read the list
    /// becomes stale.
    pub async fn sync_with_file(&self, mut poller: DataVersionPoller) {
        let mut tick = interval(FILE_POLL_INTERVAL);
        loop {
            tick.tick().await;
            let known_at = self.clock.monotonic();
            if let Ok(changes) = poller.poll_changes(stored_entries).await {
                self.add(changes.unwrap_or_default(), known_at);
            }
        }
    }

    /// Notifies the nodes on PostgreSQL at the commit of the caller's unit of work: for a process
    /// that does not run the sync itself. Without it they find the revocations at their next poll.
    ///
    /// # Errors
    /// The database error.
    pub fn announce(&self, tx: &mut Tx<'_>) -> QueryResult<()> {
        if let AnyConnection::Postgres(c) = tx.connection() {
            diesel::sql_query("SELECT pg_notify($1, '')").bind::<Text, _>(CHANNEL).execute(c)?;
        }
        Ok(())
    }

    /// Syncs other nodes' revocations and notifies them of this one's, until it is dropped. While
    /// the database does not respond the list becomes stale.
    pub async fn sync_with_server(&self, listener: Listener, by: SyncMode) {
        let notified = Arc::new(Notify::new());
        let tell = Arc::clone(&notified);
        match by {
            SyncMode::Poll => {
                listener.close_unused();
                self.poll_repeatedly(&listener, by, &notified).await;
            }
            SyncMode::Listen => {
                tokio::join!(
                    self.poll_repeatedly(&listener, by, &notified),
                    self.notify_other_nodes(&listener),
                    listener.listen(CHANNEL, move || tell.notify_one()),
                );
            }
        }
    }

    async fn poll_repeatedly(&self, listener: &Listener, by: SyncMode, notified: &Notify) {
        let mut cursor = SyncCursor::start();
        loop {
            // A failure makes the list stale, which its users see; the log has the cause.
            if let Ok(next) = self.poll(listener, by, cursor.clone()).await {
                cursor = next;
            }
            let _ = timeout(POLL_INTERVAL, notified.notified()).await;
        }
    }

    /// Reads the rows since `cursor` and returns the next cursor.
    async fn poll(
        &self,
        listener: &Listener,
        by: SyncMode,
        cursor: SyncCursor,
    ) -> Result<SyncCursor, StoreError> {
        let clock = self.clock.clone();
        let seen = listener
            .query(move |c| match by {
                SyncMode::Listen => PolledChanges::read_since(c, &clock, &cursor),
                SyncMode::Poll => PolledChanges::read_all(c, &clock),
            })
            .await?;
        self.add(seen.rows, seen.known_at);
        locks::write(&self.cache).clock_skew = seen.clock_skew;
        Ok(seen.cursor)
    }

    /// Notifies the other nodes of this one's revocations: after the commit, and once for all of
    /// them meanwhile. A notification within the transaction would serialise commits, one fsync
    /// after the other.
    async fn notify_other_nodes(&self, listener: &Listener) {
        loop {
            let _ = timeout(HEARTBEAT, self.stored.notified()).await;
            if listener.notify(CHANNEL).await.is_err() {
                // The notification failed, so other nodes rely on polling.
                sleep(POLL_INTERVAL).await;
            }
        }
    }
}

/// The position from which a poll continues.
#[derive(Clone)]
struct SyncCursor {
    /// The identity of the last poll's connection.
    connection: String,
    /// The oldest transaction that was in progress then.
    transaction: String,
}

impl SyncCursor {
    /// Before everything, on no existing connection.
    fn start() -> Self {
        Self { connection: Uuid::new_v4().to_string(), transaction: String::from("0") }
    }
}

/// The result of one poll.
struct PolledChanges {
    rows: Vec<(Id, Timestamp)>,
    cursor: SyncCursor,
    known_at: Instant,
    clock_skew: Duration,
}

#[derive(QueryableByName)]
struct ChangeRow {
    #[diesel(sql_type = Text)]
    oldest: String,
    #[diesel(sql_type = BigInt)]
    micros: i64,
    #[diesel(sql_type = Nullable<IdSql>)]
    id: Option<Id>,
    #[diesel(sql_type = Nullable<BigInt>)]
    expires_at: Option<i64>,
}

impl PolledChanges {
    fn read_since(c: &mut AnyConnection, clock: &Clock, cursor: &SyncCursor) -> QueryResult<Self> {
        let AnyConnection::Postgres(c) = c else { return Err(diesel::NotFound) };
        let known = sql::<Nullable<Text>>("SELECT current_setting('doorward.sync', true)");
        let connection: Option<String> = known.get_result(c)?;
        let mut cursor = cursor.clone();
        if connection.as_deref() != Some(&cursor.connection) {
            cursor = SyncCursor::start();
            diesel::sql_query("SELECT set_config('doorward.sync', $1, false)")
                .bind::<Text, _>(&cursor.connection)
                .execute(c)?;
        }
        let (known_at, before) = (clock.monotonic(), clock.now());
        // One statement sees one snapshot: its oldest transaction and its rows are consistent.
        let rows: Vec<ChangeRow> = diesel::sql_query(format!(
            "SELECT pg_snapshot_xmin(snapshot)::text AS oldest, {POSTGRES_MICROS} AS micros,
                    id, expires_at
             FROM (SELECT pg_current_snapshot() AS snapshot) AS present
             LEFT JOIN blocklist ON xid >= $1::text::xid8",
        ))
        .bind::<Text, _>(&cursor.transaction)
        .load(c)?;
        let first = rows.first().ok_or(diesel::NotFound)?;
        cursor.transaction.clone_from(&first.oldest);
        let clock_skew = difference(before, clock.now(), first.micros);
        let moment = Timestamp::from_micros;
        let rows = rows.iter().filter_map(|row| Some((row.id?, moment(row.expires_at?)))).collect();
        Ok(Self { rows, cursor, known_at, clock_skew })
    }

    fn read_all(c: &mut AnyConnection, clock: &Clock) -> QueryResult<Self> {
        let known_at = clock.monotonic();
        let clock_skew = clock_skew(c, clock)?;
        let rows = stored_entries(c)?;
        Ok(Self { rows, cursor: SyncCursor::start(), known_at, clock_skew })
    }
}

/// How far `clock` is from the database's; zero with SQLite, which has none.
pub(super) fn clock_skew(c: &mut AnyConnection, clock: &Clock) -> QueryResult<Duration> {
    let before = clock.now();
    let now = server_time(c)?;
    Ok(now.map_or(Duration::ZERO, |now| difference(before, clock.now(), now.as_micros())))
}

/// The clock difference, if the other clock showed `micros` at some time between these two.
fn difference(before: Timestamp, after: Timestamp, micros: i64) -> Duration {
    let between = i64::midpoint(before.as_micros(), after.as_micros());
    Duration::from_micros(between.abs_diff(micros))
}
