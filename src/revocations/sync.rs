//! What other processes revoke, taken over into this node's list.
//!
//! With SQLite the file says when it has changed. With PostgreSQL a notification says that there is
//! news, usually within milliseconds; the guarantee is a look once a second that misses no row. Rows
//! become visible in another order than they were made in, so neither an id nor a time can be the
//! place to go on from. Each row carries the id of the transaction that listed it, and a look goes on
//! from the oldest transaction that was still under way at the look before: everything older was
//! visible then. Transaction ids count for one server only, so a look over a connection that is not
//! the last look's reads everything; the connection itself remembers whether it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use tokio::sync::Notify;
use tokio::time::{interval, sleep, timeout};
use uuid::Uuid;

use super::{Revocations, stored_entries};
use crate::clock::{Clock, Timestamp};
use crate::database::sql_types::IdSql;
use crate::database::time::{POSTGRES_MICROS, server_time};
use crate::database::{AnyConnection, DataVersionPoller, Id, Listener, StoreError, Tx};
use crate::locks;

/// How often the file is looked at for what other processes revoked.
const FILE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How often the database is looked at, notification or not.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often the nodes hear from each other that they can be heard. Less than a [`Listener`] waits
/// before it takes a listener for deaf.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// What revocations are told of by, and nothing else.
const CHANNEL: &str = "doorward_revocations";

/// How to learn what other nodes of a PostgreSQL database revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Notifications, and transaction ids to go on from.
    Listen,
    /// The whole list, read again every second: for what speaks PostgreSQL's protocol and has
    /// neither, such as a pooler in transaction mode.
    Poll,
}

impl Revocations {
    /// Goes on taking over what other processes write to the file (the command line, or a second
    /// instance that starts while this one drains), until it is dropped. While the file cannot be
    /// read the list grows stale.
    pub async fn sync_with_file(&self, mut poller: DataVersionPoller) {
        let mut tick = interval(FILE_POLL_INTERVAL);
        loop {
            tick.tick().await;
            let known_at = self.clock.monotonic();
            if let Ok(news) = poller.poll_changes(stored_entries).await {
                self.add(news.unwrap_or_default(), known_at);
            }
        }
    }

    /// Tells the nodes on PostgreSQL, at the commit of the caller's unit of work, that there is
    /// news: for a process that does not follow itself. Without it they see it at their next look.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn announce(&self, tx: &mut Tx<'_>) -> QueryResult<()> {
        if let AnyConnection::Postgres(c) = tx.connection() {
            diesel::sql_query("SELECT pg_notify($1, '')").bind::<Text, _>(CHANNEL).execute(c)?;
        }
        Ok(())
    }

    /// Goes on taking over what other nodes revoke, and telling them what this one does, until it is
    /// dropped. While the database does not answer the list grows stale.
    pub async fn sync_with_server(&self, listener: Listener, by: SyncMode) {
        let heard = Arc::new(Notify::new());
        let tell = Arc::clone(&heard);
        match by {
            SyncMode::Poll => {
                listener.close_unused();
                self.poll_repeatedly(&listener, by, &heard).await;
            }
            SyncMode::Listen => {
                tokio::join!(
                    self.poll_repeatedly(&listener, by, &heard),
                    self.notify_other_nodes(&listener),
                    listener.listen(CHANNEL, move || tell.notify_one()),
                );
            }
        }
    }

    async fn poll_repeatedly(&self, listener: &Listener, by: SyncMode, heard: &Notify) {
        let mut cursor = SyncCursor::start();
        loop {
            // What fails makes the list stale, which is seen by whoever asks it; the log has why.
            if let Ok(next) = self.poll(listener, by, cursor.clone()).await {
                cursor = next;
            }
            let _ = timeout(POLL_INTERVAL, heard.notified()).await;
        }
    }

    /// Reads what is new since `cursor`, and answers the place to go on from.
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

    /// Tells the other nodes when this one has revoked something: after the commit, and once for
    /// all that came meanwhile. A notification within the transaction would make commits wait for
    /// each other, one fsync after the other.
    async fn notify_other_nodes(&self, listener: &Listener) {
        loop {
            let _ = timeout(HEARTBEAT, self.stored.notified()).await;
            if listener.notify(CHANNEL).await.is_err() {
                // Nobody was told, so they find it by looking.
                sleep(POLL_INTERVAL).await;
            }
        }
    }
}

/// Where a look goes on.
#[derive(Clone)]
struct SyncCursor {
    /// What the connection of the last look knows itself by.
    connection: String,
    /// The oldest transaction that was under way then.
    transaction: String,
}

impl SyncCursor {
    /// Before everything, on no connection that there is.
    fn start() -> Self {
        Self { connection: Uuid::new_v4().to_string(), transaction: String::from("0") }
    }
}

/// What one look has seen.
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
        // One statement sees one snapshot: its oldest transaction and the rows belong together.
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

/// How far a clock that said `micros` at some moment between these two is from theirs.
fn difference(before: Timestamp, after: Timestamp, micros: i64) -> Duration {
    let between = i64::midpoint(before.as_micros(), after.as_micros());
    Duration::from_micros(between.abs_diff(micros))
}
