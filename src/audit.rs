//! The audit trail: security events of accounts, sessions, clients and keys.
//!
//! [`record`] writes an event in the unit of work that causes it, and logs it after the commit:
//! stored events have happened, events that happened are stored, and no extra commit is needed.
//! Refreshes are not events; they are counted.
//!
//! Failures have no unit of work, and anybody can cause them. They are aggregated in memory by
//! account and minute ([`Audit::record_failure`]) and written together about once a second: a flood
//! of them makes a bounded number of rows and delays no login. Unknown addresses are aggregated
//! like an account, so that they take the same time as a wrong password. A node that crashes loses
//! its unwritten events of the last second. Replays of a refresh token from another device are
//! aggregated the same way, by session ([`Audit::add_failure`]): most of them write nothing else.

mod event;
mod failures;
mod ids;
mod listing;
mod queries;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use diesel::QueryResult;

use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError, Tx};
use crate::locks;

pub use event::{Event, EventKind};
use failures::FailureCounts;
use ids::first_id;
pub use listing::{EventFilter, EventPage, EventRange, list};
pub use queries::AuditEntry;

/// Events deleted in one batch of a purge, so that no other unit waits long for it.
const PURGE_BATCH: i64 = 500;

/// Stores an event in the unit of work that causes it, and logs it after the commit.
///
/// # Errors
/// The database error.
pub fn record(tx: &mut Tx<'_>, event: Event, now: Timestamp) -> QueryResult<()> {
    tx.begin()?;
    let event = event.with_actor(tx.actor());
    queries::insert(tx.connection(), &AuditEntry::of(&event, now))?;
    tx.after_commit(move || event.log());
    Ok(())
}

/// Stores several events like [`record`].
///
/// # Errors
/// The database error.
pub fn record_all(tx: &mut Tx<'_>, events: Vec<Event>, now: Timestamp) -> QueryResult<()> {
    tx.begin()?;
    let events: Vec<Event> = events.into_iter().map(|event| event.with_actor(tx.actor())).collect();
    let entries: Vec<AuditEntry> = events.iter().map(|event| AuditEntry::of(event, now)).collect();
    queries::insert_all(tx.connection(), &entries)?;
    tx.after_commit(move || events.iter().for_each(Event::log));
    Ok(())
}

/// The audit trail of a running service. Clones share it.
#[derive(Clone)]
pub struct Audit {
    db: Database,
    clock: Clock,
    retention: Duration,
    failures: Arc<Mutex<FailureCounts>>,
    dropped: Arc<AtomicU64>,
}

impl Audit {
    /// Creates a trail with this retention.
    #[must_use]
    pub fn new(db: Database, clock: Clock, retention: Duration) -> Self {
        Self { db, clock, retention, failures: Arc::default(), dropped: Arc::default() }
    }

    /// Logs a failure and adds it to those of the same account (or of no account) in this minute,
    /// which [`Audit::flush_failures`] writes.
    pub fn record_failure(&self, kind: EventKind, user: Option<Id>, address: &str) {
        self.add_failure(&Event { user, ..Event::new(kind).with_address(Some(address)) });
    }

    /// Logs an event that has no unit of work and adds it to those of the same kind, account and
    /// session in this minute, which [`Audit::flush_failures`] writes.
    pub fn add_failure(&self, event: &Event) {
        event.log();
        if !self.failures().add(event, self.clock.now()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the aggregated events that are not written yet; to be called about once a second.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be stored; the next call retries.
    pub async fn flush_failures(&self) -> Result<(), StoreError> {
        let due = self.failures().due();
        if !due.is_empty() {
            let rows = due.clone();
            self.db.write(move |tx| queries::put(tx.connection(), &rows)).await?;
        }
        self.failures().written(&due, self.clock.now());
        Ok(())
    }

    /// Events that were dropped because too many accounts had some within a minute.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Erases addresses from the events of a deleted account; its id stays.
    ///
    /// # Errors
    /// The database error.
    pub fn erase_addresses(&self, tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
        let failures = Arc::clone(&self.failures);
        tx.after_commit(move || {
            locks::lock(&failures).forget(user);
        });
        erase_addresses(tx, user)
    }

    /// Deletes a batch of events that are past their retention at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be deleted; the next call retries.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let before = first_id(now.minus(self.retention));
        let deleted = self
            .db
            .write(move |tx| queries::delete_before(tx.connection(), before, PURGE_BATCH))
            .await?;
        Ok(i64::try_from(deleted) == Ok(PURGE_BATCH))
    }

    fn failures(&self) -> MutexGuard<'_, FailureCounts> {
        locks::lock(&self.failures)
    }
}

/// [`Audit::erase_addresses`] for an administrative process, which has no failures in memory.
///
/// # Errors
/// The database error.
pub fn erase_addresses(tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
    queries::erase_addresses(tx.connection(), user)
}
