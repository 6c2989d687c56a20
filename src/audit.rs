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
//! its unwritten events of the last second. Replays of a refresh token from another device, by
//! session, and reads over the admin API, by client, are aggregated the same way
//! ([`Audit::aggregate`]): most of them write nothing else.

mod aggregates;
mod event;
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

use aggregates::EventAggregates;
pub use event::{Event, EventKind};
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
    aggregates: Arc<Mutex<EventAggregates>>,
    dropped: Arc<AtomicU64>,
}

impl Audit {
    /// Creates a trail with this retention.
    #[must_use]
    pub fn new(db: Database, clock: Clock, retention: Duration) -> Self {
        Self { db, clock, retention, aggregates: Arc::default(), dropped: Arc::default() }
    }

    /// Logs a failure and adds it to those of the same account (or of no account) in this minute,
    /// which [`Audit::write_aggregates`] writes.
    pub fn record_failure(&self, kind: EventKind, user: Option<Id>, address: &str) {
        self.aggregate(&Event { user, ..Event::new(kind).with_address(Some(address)) });
    }

    /// Logs an event that has no unit of work and adds it to those of the same kind, account,
    /// session and operator in this minute, which [`Audit::write_aggregates`] writes.
    pub fn aggregate(&self, event: &Event) {
        event.log();
        if !self.aggregates().add(event, self.clock.now()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the aggregated events that are not written yet, those of closed accounts without an
    /// address; to be called about once a second.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be stored; the next call retries.
    pub async fn write_aggregates(&self) -> Result<(), StoreError> {
        let due = self.aggregates().due();
        if !due.is_empty() {
            let rows = due.clone();
            self.db.write(move |tx| queries::put(tx.connection(), &rows)).await?;
        }
        self.aggregates().written(&due, self.clock.now());
        Ok(())
    }

    /// Events that were dropped because too many accounts had some within a minute.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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

    fn aggregates(&self) -> MutexGuard<'_, EventAggregates> {
        locks::lock(&self.aggregates)
    }
}

/// Erases addresses from the events of a closed account, in the unit of work that closes it; its id
/// stays. Aggregates that are written later have none ([`Audit::write_aggregates`]).
///
/// # Errors
/// The database error.
pub fn erase_addresses(tx: &mut Tx<'_>, user: Id) -> QueryResult<()> {
    queries::erase_addresses(tx.connection(), user)
}
