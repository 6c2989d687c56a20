//! Revocation of tokens, sessions, clients and keys before they expire: the blocklist, a table, and
//! the revocation list, its copy in memory.
//!
//! One keyspace of ids: a row names a token (`jti`), a session (`sid`), a client (`client_id`) or a
//! signing key (`kid`), and a token is rejected when one of its ids is listed. Every node holds the
//! whole list in memory, so that a check costs no I/O. A row lives until the last token that it can
//! concern has expired, so short access token lifetimes keep the table small.
//!
//! A revocation takes effect on this node after its commit and before its response, by a hook on
//! the unit that stores it ([`Revocations::revoke`]): it is not possible to store one and forget to
//! apply it. [`sync`] syncs the revocations of other processes; [`feed`] publishes them to services
//! that verify tokens themselves.

pub mod feed;
mod purge;
mod queries;
mod revoke;
pub mod sync;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError};
use crate::locks;

/// How far the clocks of a node and of the database may differ: a node whose clock is further off
/// makes tokens that others reject, and is not ready.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The treatment of access tokens while the list may be out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StalePolicy {
    /// Reject every token temporarily.
    FailClosed,
    /// Continue with the list as it is. Tokens may have been revoked meanwhile.
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
    /// The token, its session, its client or its key was revoked.
    Revoked,
    /// The list is too stale to know, and the policy is to reject.
    Unknown,
}

/// The revocation list of this node. Clones share it.
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
                Ok((queries::stored_entries(c)?.into_iter().collect(), clock_skew))
            })
            .await?;
        Ok(Self::with_list(db, clock, policy, listed, known_at, clock_skew))
    }

    /// For a process that verifies no tokens: it can revoke, and does not load the list. Its
    /// revocations expire no earlier than by `expiry_clock`, because its own clock may be behind.
    #[must_use]
    pub fn without_list(
        db: Database,
        clock: Clock,
        expiry_clock: Clock,
        policy: RevocationPolicy,
    ) -> Self {
        let known_at = clock.monotonic();
        let this = Self::with_list(db, clock, policy, HashMap::new(), known_at, Duration::ZERO);
        Self { expiry_clock: Some(expiry_clock), ..this }
    }

    fn with_list(
        db: Database,
        clock: Clock,
        policy: RevocationPolicy,
        listed: HashMap<Id, Timestamp>,
        known_at: Instant,
        clock_skew: Duration,
    ) -> Self {
        let log = feed::RevocationLog::new();
        let cache = Arc::new(RwLock::new(RevocationCache { listed, known_at, clock_skew, log }));
        let boot = Uuid::new_v4().as_u64_pair().0;
        let batches = watch::Sender::new(Arc::new(feed::FeedBatch::first(known_at)));
        let expiry_clock = None;
        Self { db, clock, expiry_clock, policy, cache, boot, stored: Arc::default(), batches }
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
        let rows = self.db.read(queries::count).await?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// The staleness: how long ago the list was last known to be complete.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.age(&locks::read(&self.cache))
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
    fn add(&self, mut rows: Vec<(Id, Timestamp)>, known_at: Instant) {
        {
            // Looked up under a read lock, concurrently with requests; most are known, because they
            // are this node's own.
            let cache = locks::read(&self.cache);
            rows.retain(|(id, expires_at)| cache.listed.get(id) != Some(expires_at));
        }
        let mut cache = locks::write(&self.cache);
        // Entries are added, never replaced: this node's revocations after the read are not in it.
        for (id, expires_at) in rows {
            cache.list(feed::RevocationEntry { id, expires_at });
        }
        cache.known_at = cache.known_at.max(known_at);
    }

    fn age(&self, cache: &RevocationCache) -> Duration {
        self.clock.monotonic().saturating_duration_since(cache.known_at)
    }
}
