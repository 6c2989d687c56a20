//! The blocklist: what was taken back before it expired.
//!
//! One keyspace of ids: a row names a token (its `jti`), a session (its `sid`) or a client, and a
//! token is refused when one of its ids is there. Every node mirrors the table in memory, so that a check
//! costs no I/O. A row lives until the last token that it can concern has expired, so the table
//! stays as small as the access lifetime is short.
//!
//! A revocation takes effect here after its commit and before its answer, by a hook on the unit
//! that stores it ([`Revocations::revoke`]): there is no way to store one and forget to apply it.
//! What other processes store is found by [`sync`]; [`feed`] tells those outside who verify tokens
//! by themselves.

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

/// How long a revocation stays listed beyond the longest life of an access token and a verifier's
/// leeway: time for a request that was past its check when the revocation came to sign a token yet.
const SAFETY_MARGIN: Duration = Duration::from_secs(60);

/// How far the clocks of a node and of the database may differ: a node whose clock is further off
/// makes tokens that others reject, and is not ready.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How much longer what is issued without a trace in the database stays listed: nobody knows when and
/// by which clock the last token was signed, and the clock of whoever revokes may be a month behind.
const CLIENT_MARGIN: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// Rows that a purge deletes at once, so that no other unit waits long for it: they lie all over the
/// table, and each costs a page.
const PURGE_BATCH: i64 = 100;

/// Ids that are forgotten while nobody can look at the list.
const EXPIRED_PER_LOCK: usize = 1000;

/// What to do with a token while the list may be out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePolicy {
    /// Refuse every token for the time being.
    FailClosed,
    /// Go on with the list as it was.
    FailOpen,
}

/// The settings of revocation.
#[derive(Clone, Copy, Debug)]
pub struct RevocationPolicy {
    /// The life of an access token plus the leeway that verifiers grant.
    pub max_token_age: Duration,
    /// The age from which on the mirror may not be trusted.
    pub max_staleness: Duration,
    /// What happens then.
    pub when_stale: StalePolicy,
    /// How far this node's clock may be from the database's.
    pub max_clock_skew: Duration,
    /// From so many listed ids on no single access token is taken back, until the purge has found
    /// others that have expired. What ends whole sessions, and what is under way, comes on top.
    pub max_entries: usize,
}

/// The answer for one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationStatus {
    /// Nothing was revoked.
    NotRevoked,
    /// The token, its session or its client was revoked.
    Revoked,
    /// The list is too old to know, and the policy is to refuse.
    Unknown,
}

/// The blocklist of this node. Clones share it.
#[derive(Clone)]
pub struct Revocations {
    db: Database,
    clock: Clock,
    /// What is revoked expires no earlier than by this clock.
    expiry_clock: Option<Clock>,
    policy: RevocationPolicy,
    cache: Arc<RwLock<RevocationCache>>,
    /// Names this start of this node in the places of the feed.
    boot: u64,
    /// Told when this node has stored a revocation, for whoever tells the others.
    stored: Arc<Notify>,
    /// What all that follow the feed are told.
    batches: watch::Sender<Arc<feed::FeedBatch>>,
}

struct RevocationCache {
    /// When each listed id may be forgotten.
    listed: HashMap<Id, Timestamp>,
    /// When the list was last known to be complete.
    known_at: Instant,
    /// How far this node's clock is from the database's.
    clock_skew: Duration,
    log: feed::RevocationLog,
}

impl RevocationCache {
    /// Lists what is not listed yet, or shall be for longer.
    fn list(&mut self, entry: feed::RevocationEntry) {
        if self.listed.get(&entry.id).is_none_or(|listed| *listed < entry.expires_at) {
            self.listed.insert(entry.id, entry.expires_at);
            self.log.push(entry);
        }
    }
}

impl Revocations {
    /// Loads the list; nothing may be answered before.
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

    /// Has what is revoked from now on expire no earlier than by `clock`: for a process whose own
    /// may be behind.
    #[must_use]
    pub fn with_expiry_clock(self, clock: Clock) -> Self {
        Self { expiry_clock: Some(clock), ..self }
    }

    /// How a token with these ids stands.
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

    /// How many ids are on the list, as far as this node knows.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        locks::read(&self.cache).listed.len()
    }

    /// Whether no more single tokens are listed: it is for whoever takes one back to ask. A session
    /// has a new token with each refresh; it ends once, and that is always listed.
    #[must_use]
    pub fn is_at_capacity(&self) -> bool {
        self.entry_count() >= self.policy.max_entries
    }

    /// How many rows the stored list has.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn stored(&self) -> Result<u64, StoreError> {
        let rows = self.db.read(|c| blocklist::table.count().get_result::<i64>(c)).await?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// How long ago the list was last known to be complete.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.age(&locks::read(&self.cache))
    }

    /// Revokes a token, a session or a client as part of a unit of work: stored with it, and in force
    /// here from its commit on, before its answer leaves. It is listed for the life of a token from
    /// now on, by the caller's clock and by the database's: whichever takes longer.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn revoke(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age, now)
    }

    /// The same for a client, whose own tokens leave no trace in the database.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn revoke_client(&self, tx: &mut Tx<'_>, id: Id, now: Timestamp) -> QueryResult<()> {
        self.revoke_for(tx, id, self.policy.max_token_age + CLIENT_MARGIN, now)
    }

    /// The same for something that could be believed for longer than an access token lives.
    ///
    /// # Errors
    /// Whatever the database says.
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

    /// The same for several tokens, sessions or clients, each with the moment from which on nothing
    /// of it is issued.
    ///
    /// # Errors
    /// Whatever the database says.
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

    /// How far this node's clock is from the database's, as it was at the last look; zero with
    /// SQLite, which has none of its own.
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        locks::read(&self.cache).clock_skew
    }

    /// Whether this node's clock is near enough to the database's to verify and issue tokens by it.
    #[must_use]
    pub fn is_clock_trusted(&self) -> bool {
        self.clock_skew() <= self.policy.max_clock_skew
    }

    /// Takes over rows that were read at `known_at` or later, after which the list is complete up to
    /// then.
    fn add(&self, mut news: Vec<(Id, Timestamp)>, known_at: Instant) {
        {
            // Looked up beside the requests that do the same; most is known, being this node's own.
            let cache = locks::read(&self.cache);
            news.retain(|(id, expires_at)| cache.listed.get(id) != Some(expires_at));
        }
        let mut cache = locks::write(&self.cache);
        // Added to, never replaced: what this node revoked after the reading is not in it.
        for (id, expires_at) in news {
            cache.list(feed::RevocationEntry { id, expires_at });
        }
        cache.known_at = cache.known_at.max(known_at);
    }

    /// Forgets what can no longer concern any token: a batch of rows, and whether there may be
    /// more. `now` is the caller's, who knows that the clock was right then: between two batches it
    /// may be set.
    ///
    /// # Errors
    /// [`StoreError`] when the rows cannot be deleted; the next call will try again.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let deleted = self.db.write(move |tx| delete_expired(tx.connection(), now)).await?;
        let is_more = i64::try_from(deleted) == Ok(PURGE_BATCH);
        if !is_more {
            // Only now: what is stored yet would be read again, and told to every subscriber as new.
            self.drop_expired(now);
        }
        Ok(is_more)
    }

    /// Looks beside those who verify, and takes away in pieces. A revocation that comes in the meantime
    /// waits for the look, and whoever verifies then waits for that: milliseconds with a million.
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
                // It may have been listed again in the meantime.
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

/// All of the list: what is over is for the purge to say, which knows whether the clock is right.
fn stored_entries(connection: &mut AnyConnection) -> QueryResult<Vec<(Id, Timestamp)>> {
    blocklist::table.select((blocklist::id, blocklist::expires_at)).load(connection)
}

/// Revoking twice is a success. The row is made anew rather than changed, so that the other nodes
/// see that it is. With PostgreSQL it expires `life` from the server's time at the earliest: the clock
/// that the entry was made by may be wrong, and other nodes sign by theirs.
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

/// The same for several: on PostgreSQL, which may be far away, at once.
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

/// A row that expires `life` from PostgreSQL's time on at the earliest.
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
