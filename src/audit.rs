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
//! aggregated likewise, by session ([`Audit::add_failure`]): most of them write nothing else.

mod failures;
mod queries;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::QueryResult;
use serde::Serialize;
use tracing::field::display;
use uuid::Builder;

use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError, Tx};
use crate::locks;
use crate::named::named;
use crate::secret::random_bytes;

use failures::FailureCounts;
pub use queries::AuditEntry;

/// Events deleted in one batch of a purge, so that no other unit waits long for it.
const PURGE_BATCH: i64 = 500;

named! {
    /// The kinds of events.
    pub enum EventKind {
        /// An account was created, by sign-up or by an operator.
        AccountCreated = "account_created",
        /// A login, or a password change, which starts a new session.
        SessionStarted = "session_started",
        /// A password was wrong, or no account has the address.
        LoginFailed = "login_failed",
        /// A password was rejected because too many had been wrong.
        LoginThrottled = "login_throttled",
        /// A sign-up used the address of the account.
        RegistrationRefused = "registration_refused",
        /// The password was changed, by its owner or an operator.
        PasswordChanged = "password_changed",
        /// An operator disabled the account.
        AccountDisabled = "account_disabled",
        /// An operator enabled it again.
        AccountEnabled = "account_enabled",
        /// The owner closed the account.
        AccountClosed = "account_closed",
        /// An operator deleted the account.
        AccountDeleted = "account_deleted",
        /// A session was ended early; the detail is the reason.
        SessionEnded = "session_ended",
        /// An already rotated refresh token was used.
        RefreshTokenReused = "refresh_token_reused",
        /// A refresh was answered again, to another address and another user agent than before, and
        /// without an idempotency key of that rotation.
        RefreshReplayedElsewhere = "refresh_replayed_elsewhere",
        /// A single access token was revoked.
        AccessTokenRevoked = "access_token_revoked",
        /// A client was registered; the detail is its id.
        ClientAdded = "client_added",
        /// A client was removed; the detail is its id.
        ClientRemoved = "client_removed",
        /// A client sent a wrong secret or an unknown id.
        ClientAuthenticationFailed = "client_authentication_failed",
        /// A signing key is published, but does not sign yet; the detail is its `kid`.
        KeyPublished = "key_published",
        /// A signing key became active.
        KeyRotated = "key_rotated",
        /// A signing key no longer signs.
        KeyRetired = "key_retired",
        /// A signing key is no longer published.
        KeyRemoved = "key_removed",
        /// A signing key was revoked: its tokens are rejected.
        KeyRevoked = "key_revoked",
        /// A backup was restored and every session ended.
        BackupRestored = "backup_restored",
    }
}

impl EventKind {
    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    kind: EventKind,
    user: Option<Id>,
    session: Option<Id>,
    address: Option<String>,
    detail: Option<String>,
}

impl Event {
    /// An event without an account, session or address.
    #[must_use]
    pub const fn new(kind: EventKind) -> Self {
        Self { kind, user: None, session: None, address: None, detail: None }
    }

    /// Sets the account: its owner sees the event at `/me/activity`.
    #[must_use]
    pub fn with_user(self, user: Id) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Sets the session.
    #[must_use]
    pub fn with_session(self, session: Id) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Sets the client address, in the form that sessions store. Operators' events have none.
    #[must_use]
    pub fn with_address(self, address: Option<&str>) -> Self {
        Self { address: address.map(str::to_owned), ..self }
    }

    /// Sets the detail: a reason or an id. Never text that a client has sent.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    fn log(&self) {
        let (event, detail) = (self.kind.as_str(), self.detail.as_deref());
        let (user, session) = (self.user.map(display), self.session.map(display));
        let address = self.address.as_deref();
        if self.kind == EventKind::RefreshTokenReused {
            tracing::warn!(event, user, session, address, detail);
        } else {
            tracing::info!(event, user, session, address, detail);
        }
    }
}

/// Stores an event in the unit of work that causes it, and logs it after the commit.
///
/// # Errors
/// The database error.
pub fn record(tx: &mut Tx<'_>, event: Event, now: Timestamp) -> QueryResult<()> {
    tx.begin()?;
    queries::insert(tx.connection(), &AuditEntry::of(&event, now))?;
    tx.after_commit(move || event.log());
    Ok(())
}

/// The same for several events.
///
/// # Errors
/// The database error.
pub fn record_all(tx: &mut Tx<'_>, events: Vec<Event>, now: Timestamp) -> QueryResult<()> {
    tx.begin()?;
    let entries: Vec<AuditEntry> = events.iter().map(|event| AuditEntry::of(event, now)).collect();
    queries::insert_all(tx.connection(), &entries)?;
    tx.after_commit(move || events.iter().for_each(Event::log));
    Ok(())
}

/// The filter of a list of events.
#[derive(Clone, Copy, Debug)]
pub struct EventFilter {
    /// Events of this account.
    pub user: Option<Id>,
    /// Events of this kind.
    pub kind: Option<EventKind>,
    /// Events from this time on.
    pub since: Option<Timestamp>,
    /// Events before this one.
    pub before: Option<Id>,
    /// The maximum number of events.
    pub limit: u32,
}

/// A page of events, the newest first.
#[derive(Clone, Debug, Serialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<AuditEntry>,
    /// The value of [`EventFilter::before`] for the next page; `None` on the last.
    pub next: Option<Id>,
}

/// Lists stored events.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list(db: &Database, wanted: EventFilter) -> Result<EventPage, StoreError> {
    let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    let mut events = db.read(move |c| queries::list(c, &wanted)).await?;
    let is_more = events.len() > limit;
    events.truncate(limit);
    let last = events.last().map(|event| event.id);
    Ok(EventPage { events, next: last.filter(|_| is_more) })
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

    /// At most `limit` events of an account before `before`, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn activity(
        &self,
        user: Id,
        before: Option<Id>,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let wanted = EventFilter { user: Some(user), kind: None, since: None, before, limit };
        list(&self.db, wanted).await
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

    fn failures(&self) -> std::sync::MutexGuard<'_, FailureCounts> {
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

/// An id that sorts after all earlier ones of this process, also within a unit of work.
fn next_id(now: Timestamp) -> Id {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    ordered_id(now, COUNT.fetch_add(1, Ordering::Relaxed), random_bytes())
}

/// The lowest id that this moment can have.
fn first_id(moment: Timestamp) -> Id {
    ordered_id(moment, 0, [0; 4])
}

/// A `UUIDv7` whose bits after the milliseconds are microseconds, then a count (RFC 9562 6.2,
/// methods 3 and 1).
fn ordered_id(now: Timestamp, count: u32, random: [u8; 4]) -> Id {
    let micros = now.as_micros().max(0).cast_unsigned();
    // Ten bits of microseconds and two of the count precede the variant, thirty follow it.
    let [.., high, low] = ((micros % 1000) << 2 | u64::from(count >> 30)).to_be_bytes();
    let mut rest = [high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    rest[2..6].copy_from_slice(&(count & (u32::MAX >> 2)).to_be_bytes());
    rest[6..].copy_from_slice(&random);
    Builder::from_unix_timestamp_millis(micros / 1000, &rest).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_name() {
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::parse("Login_Failed"), None);
    }

    #[test]
    fn ids_are_in_the_order_of_time_and_then_of_their_making() {
        let at = |micros: i64| Timestamp::from_micros(1_800_000_000_000_000 + micros);
        let mut ids = Vec::new();
        for micros in [0, 1, 2, 255, 256, 999, 1000, 1001] {
            ids.push(first_id(at(micros)));
            for count in [0, 1, 255, 256, 0x3fff_ffff, 0x4000_0000, u32::MAX] {
                ids.push(ordered_id(at(micros), count, [1; 4]));
            }
        }
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!(ids[1].uuid().get_version_num(), 7);
        assert_eq!(ids[1].uuid().get_variant(), uuid::Variant::RFC4122);
    }
}
