//! The token blocklist: tokens, sessions, clients and keys revoked before they expire.
//!
//! One keyspace of ids: a row names a token (its `jti`), a session (its `sid`) or a client, and a
//! token is rejected when one of its ids is on it. Every node holds a copy of the table in memory,
//! so that a check costs no I/O. A row lives until the last token that it can concern has expired,
//! so short access token lifetimes keep the table small.
//!
//! A revocation takes effect on this node after its commit and before its response, by a hook on
//! the unit that stores it ([`Revocations::revoke`]): it is not possible to store one and forget to
//! apply it. [`sync`] syncs the revocations of other processes; [`feed`] publishes them to services
//! that verify tokens themselves.

pub mod feed;
pub mod sync;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::database::schema::blocklist;
use crate::database::time::{self, greatest};
use crate::database::{AnyConnection, Database, Id, StoreError, Tx};
use crate::locks;

/// How long a revocation stays listed beyond the longest lifetime of an access token and a
/// verifier's leeway: a request that was past its check at the time of the revocation may still
/// sign a token.
const SAFETY_MARGIN: Duration = Duration::from_secs(60);

/// How far the clocks of a node and of the database may differ: a node whose clock is further off
/// makes tokens that others reject, and is not ready.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The additional time that revocations of tokens without a row in the database stay listed: the
/// time and the clock of the last signature are unknown, and the revoking node's clock may be a
/// month behind.
const CLIENT_MARGIN: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// The number of rows that a purge deletes at once, so that no other unit waits long for it: they
/// are scattered over the table, and each costs a page.
const PURGE_BATCH: i64 = 100;

/// The number of ids removed during one write lock of the list.
const EXPIRED_PER_LOCK: usize = 1000;

/// The treatment of tokens while the list may be out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePolicy {
    /// Reject every token temporarily.
    FailClosed,
    /// Continue with the list as it is.
    FailOpen,
}

/// The settings of revocation.
#[derive(Clone, Copy, Debug)]
pub struct RevocationPolicy {
    /// The lifetime of an access token plus the leeway of verifiers.
    pub max_token_age: Duration,
    /// The staleness beyond which the list is not trusted.
    pub max_staleness: Duration,
    /// The treatment of tokens then.
    pub when_stale: StalePolicy,
    /// How far this node's clock may be from the database's.
    pub max_clock_skew: Duration,
    /// The number of listed ids from which revocations of single access tokens are rejected, until
    /// the purge has removed expired ones. The ends of sessions, and revocations in progress, may
    /// exceed it.
    pub max_entries: usize,
}

/// The revocation status of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStatus {
    /// It was not revoked.
    NotRevoked,
    /// The token, its session or its client was revoked.
    Revoked,
    /// The list is too stale to know, and the policy is to reject.
    Unknown,
}

/// The blocklist of this node. Clones share it.
#[derive(Clone)]
pub struct Revocations {
    db: Database,
    clock: Clock,
    /// Revocations expire no earlier than by this clock.
    expiry_clock: Option<Clock>,
    policy: RevocationPolicy,
    cache: Arc<RwLock<RevocationCache>>,
    /// Identifies this run of the node in feed cursors.
    boot: u64,
    /// Notified when this node has stored a revocation, for the task that notifies other nodes.
    stored: Arc<Notify>,
    /// The batches for all subscribers of the feed.
    batches: watch::Sender<Arc<feed::FeedBatch>>,
}

struct RevocationCache {
    /// When each listed id may be dropped.
    listed: HashMap<Id, Timestamp>,
    /// When the list was last known to be complete.
    known_at: Instant,
    /// The clock difference between this node and the database.
    clock_skew: Duration,
    log: feed::RevocationLog,
}

impl RevocationCache {
    /// Adds an entry that is not listed yet, or not for as long.
    fn list(&mut self, entry: feed::RevocationEntry) {
        if self.listed.get(&entry.id).is_none_or(|listed| *listed < entry.expires_at) {
            self.listed.insert(entry.id, entry.expires_at);
            self.log.push(entry);
        }
    }
}

impl Revocations {
    /// Loads the list; no request may be answered before.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn load(
        db: Database,
        clock: Clock,
        policy: RevocationPolicy,
    ) -> Result<Self, StoreError> {
        let known_at = clock.monotonic();
        let own = clock.clone();
        let (listed, clock_skew) = db
            .read_without_timeout(move |c| {
                let clock_skew = sync::clock_skew(c, &own)?;
                Ok((stored_entries(c)?.into_iter().collect(), clock_skew))
            })
            .await?;
        let log = feed::RevocationLog::new();
        let cache = Arc::new(RwLock::new(RevocationCache { listed, known_at, clock_skew, log }));
        let boot = Uuid::new_v4().as_u64_pair().0;
        let batches = watch::Sender::new(Arc::new(feed::FeedBatch::first(known_at)));
        let expiry_clock = None;
        Ok(Self { db, clock, expiry_clock, policy, cache, boot, stored: Arc::default(), batches })
    }

    /// Makes later revocations expire no earlier than by `clock`, for a process whose own clock may
    /// be behind.
    #[must_use]
    pub fn with_expiry_clock(self, clock: Clock) -> Self {
        Self { expiry_clock: Some(clock), ..self }
    }

    /// The revocation status of a token with these ids.
    #[must_use]
    pub fn status_of(&self, mut ids: impl Iterator<Item = Id>) -> RevocationStatus {
        let cache = locks::read(&self.cache);
        if ids.any(|id| cache.listed.contains_key(&id)) {
            RevocationStatus::Revoked
        } else if self.policy.when_stale == StalePolicy::FailClosed
            && self.age(&cache) > self.policy.max_staleness
        {
            RevocationStatus::Unknown
        } else {
            RevocationStatus::NotRevoked
        }
    }

    /// Whether this id is on the list, as far as this node knows.
    #[must_use]
    pub fn contains(&self, id: Id) -> bool {
        locks::read(&self.cache).listed.contains_key(&id)
    }

    /// The number of ids on the list, as far as this node knows.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        locks::read(&self.cache).listed.len()
    }

    /// Whether no more single tokens are listed; the caller has to check this before it revokes
    /// one. A session has a new token with each refresh; it ends once, and that is always listed.
    #[must_use]
    pub fn is_at_capacity(&self) -> bool {
        self.entry_count() >= self.policy.max_entries
    }

    /// The number of rows of the stored list.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn stored(&self) -> Result<u64, StoreError> {
        let rows = self.db.read(|c| blocklist::table.count().get_result::<i64>(c)).await?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// The staleness: how long ago the list was last known to be complete.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.age(&locks::read(&self.cache))
    }

    /// Revokes a token, a session or a client as part of a unit of work: stored with it, and
    /// effective on this node from its commit on, before its response. It is listed for the
    /// lifetime of a token from now on, by the caller's clock or the database's, whichever ends
    /// later.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age, now)
    }

    /// The same for a client, whose own tokens have no row in the database.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_client(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age + CLIENT_MARGIN, now)
    }

    /// The same with a lifetime longer than an access token's.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_for(
        &self,
        tx: &mut Tx<'_>,
        id: Id,
        life: Duration,
        now: Timestamp,
    ) -> QueryResult<()> {
        let life = life + SAFETY_MARGIN;
        let mut entry = feed::RevocationEntry { id, expires_at: self.latest(now).plus(life) };
        tx.begin()?;
        insert(tx.connection(), &mut entry, life, now)?;
        self.list_after_commit(tx, vec![entry]);
        Ok(())
    }

    /// The same for several tokens, sessions or clients, each with the time from which on nothing
    /// is issued for it.
    ///
    /// # Errors
    /// The database error.
    pub fn revoke_all(
        &self,
        tx: &mut Tx<'_>,
        ids: impl Iterator<Item = (Id, Timestamp)>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let life = self.policy.max_token_age + SAFETY_MARGIN;
        let mut entries: Vec<_> = ids
            .map(|(id, last)| (id, self.latest(last).plus(life)))
            .map(|(id, expires_at)| feed::RevocationEntry { id, expires_at })
            .collect();
        tx.begin()?;
        insert_all(tx.connection(), &mut entries, life, now)?;
        self.list_after_commit(tx, entries);
        Ok(())
    }

    fn latest(&self, moment: Timestamp) -> Timestamp {
        self.expiry_clock.as_ref().map_or(moment, |clock| moment.max(clock.now()))
    }

    fn list_after_commit(&self, tx: &mut Tx<'_>, entries: Vec<feed::RevocationEntry>) {
        let (cache, stored) = (Arc::clone(&self.cache), Arc::clone(&self.stored));
        tx.after_commit(move || {
            let mut cache = locks::write(&cache);
            for entry in entries {
                cache.list(entry);
            }
            stored.notify_one();
        });
    }

    /// The clock difference between this node and the database at the last poll; zero with SQLite,
    /// which has no clock.
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        locks::read(&self.cache).clock_skew
    }

    /// Whether this node's clock is near enough to the database's to verify and issue tokens by it.
    #[must_use]
    pub fn is_clock_trusted(&self) -> bool {
        self.clock_skew() <= self.policy.max_clock_skew
    }

    /// Adds rows that were read at `known_at` or later, after which the list is complete up to
    /// then.
    fn add(&self, mut news: Vec<(Id, Timestamp)>, known_at: Instant) {
        {
            // Looked up under a read lock, concurrently with requests; most are known, because they
            // are this node's own.
            let cache = locks::read(&self.cache);
            news.retain(|(id, expires_at)| cache.listed.get(id) != Some(expires_at));
        }
        let mut cache = locks::write(&self.cache);
        // Entries are added, never replaced: this node's revocations after the read are not in it.
        for (id, expires_at) in news {
            cache.list(feed::RevocationEntry { id, expires_at });
        }
        cache.known_at = cache.known_at.max(known_at);
    }

    /// Deletes a batch of expired rows. Returns whether there may be more. The caller passes `now`,
    /// having checked that the clock was right then: between two batches it may be set.
    ///
    /// # Errors
    /// [`StoreError`] when the rows cannot be deleted; the next call retries.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let deleted = self.db.write(move |tx| delete_expired(tx.connection(), now)).await?;
        let is_more = i64::try_from(deleted) == Ok(PURGE_BATCH);
        if !is_more {
            // Only now: a row still stored would be read again, and sent to every subscriber as
            // new.
            self.drop_expired(now);
        }
        Ok(is_more)
    }

    /// Searches under a read lock, concurrently with requests, and removes in small batches. A
    /// revocation meanwhile waits for the search, and verification then waits for the revocation:
    /// milliseconds with a million entries.
    fn drop_expired(&self, now: Timestamp) {
        let is_over = |expires_at: &Timestamp| *expires_at <= now;
        let over: Vec<Id> = {
            let cache = locks::read(&self.cache);
            let all = cache.listed.iter().filter(|(_, expires_at)| is_over(expires_at));
            all.map(|(id, _)| *id).collect()
        };
        for piece in over.chunks(EXPIRED_PER_LOCK) {
            let mut cache = locks::write(&self.cache);
            for id in piece {
                // It may have been listed again meanwhile.
                if cache.listed.get(id).is_some_and(is_over) {
                    cache.listed.remove(id);
                }
            }
        }
        if !over.is_empty() {
            locks::read(&self.cache).log.drop_copy();
        }
    }

    fn age(&self, cache: &RevocationCache) -> Duration {
        self.clock.monotonic().saturating_duration_since(cache.known_at)
    }
}

/// The whole list, expired rows included: only the purge, which knows whether the clock is right,
/// drops those.
fn stored_entries(connection: &mut AnyConnection) -> QueryResult<Vec<(Id, Timestamp)>> {
    blocklist::table.select((blocklist::id, blocklist::expires_at)).load(connection)
}

/// Revoking twice succeeds. The row is created anew rather than updated, so that other nodes see
/// it. With PostgreSQL it expires `life` after the server's time or later: the clock that the entry
/// was made by may be wrong, and other nodes sign by theirs.
fn insert(
    connection: &mut AnyConnection,
    entry: &mut feed::RevocationEntry,
    life: Duration,
    now: Timestamp,
) -> QueryResult<()> {
    diesel::delete(blocklist::table.find(entry.id)).execute(connection)?;
    // `on_conflict` does not exist for both databases at once.
    match connection {
        AnyConnection::Sqlite(c) => {
            let row = row(*entry, now);
            let insert = diesel::insert_into(blocklist::table).values(row);
            insert.on_conflict_do_nothing().execute(c)?;
        }
        AnyConnection::Postgres(c) => {
            let insert = diesel::insert_into(blocklist::table)
                .values(row_with_server_expiry(*entry, life, now));
            let insert = insert.on_conflict_do_nothing().returning(blocklist::expires_at);
            if let Some(expires_at) = insert.get_result(c).optional()? {
                entry.expires_at = expires_at;
            }
        }
    }
    Ok(())
}

/// The same for several entries; on PostgreSQL, which may be far away, in one statement.
fn insert_all(
    connection: &mut AnyConnection,
    entries: &mut [feed::RevocationEntry],
    life: Duration,
    now: Timestamp,
) -> QueryResult<()> {
    if let AnyConnection::Postgres(c) = connection {
        let ids = entries.iter().map(|entry| entry.id);
        diesel::delete(blocklist::table.filter(blocklist::id.eq_any(ids))).execute(c)?;
        let rows: Vec<_> =
            entries.iter().map(|entry| row_with_server_expiry(*entry, life, now)).collect();
        let insert = diesel::insert_into(blocklist::table).values(rows).on_conflict_do_nothing();
        let stored: Vec<(Id, Timestamp)> =
            insert.returning((blocklist::id, blocklist::expires_at)).get_results(c)?;
        let stored: HashMap<_, _> = stored.into_iter().collect();
        for entry in entries {
            entry.expires_at = stored.get(&entry.id).copied().unwrap_or(entry.expires_at);
        }
        return Ok(());
    }
    entries.iter_mut().try_for_each(|entry| insert(connection, entry, life, now))
}

/// A row that expires `life` after PostgreSQL's time or later.
#[diesel::dsl::auto_type]
fn row_with_server_expiry(entry: feed::RevocationEntry, life: Duration, now: Timestamp) -> _ {
    let (id, expires_at): (Id, Timestamp) = (entry.id, entry.expires_at);
    let of_server: SqlLiteral<BigInt> = time::server_time_after(life);
    let expires_at = greatest(expires_at, of_server);
    (blocklist::id.eq(id), blocklist::expires_at.eq(expires_at), blocklist::revoked_at.eq(now))
}

#[diesel::dsl::auto_type]
fn row(entry: feed::RevocationEntry, now: Timestamp) -> _ {
    let (id, expires_at): (Id, Timestamp) = (entry.id, entry.expires_at);
    (blocklist::id.eq(id), blocklist::expires_at.eq(expires_at), blocklist::revoked_at.eq(now))
}

fn delete_expired(connection: &mut AnyConnection, now: Timestamp) -> QueryResult<usize> {
    let expired: Vec<Id> = blocklist::table
        .filter(blocklist::expires_at.le(now))
        .select(blocklist::id)
        .limit(PURGE_BATCH)
        .load(connection)?;
    diesel::delete(blocklist::table.filter(blocklist::id.eq_any(&expired))).execute(connection)?;
    Ok(expired.len())
}
