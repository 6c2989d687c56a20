//! The revocation list, and how long ago it was last known to be complete.

mod entries;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Deserialize;

use super::suspend_aware_clock::Stamp;
use doorward_tokens::clock::{Clock, Timestamp};
use entries::{List, MissingIds};

/// How much longer than its `exp` plus the leeway an id is kept, in case the clock is wrong and
/// corrected later.
const MARGIN: Duration = Duration::from_secs(60);

/// The number of ids added or dropped in one write lock.
const BATCH: usize = 1_000;

/// An id of the feed: a `jti`, a `sid`, a client's id or a `kid`, in exactly the form of tokens.
#[derive(Debug, Deserialize)]
pub(super) struct FeedEntry {
    pub(super) id: Box<str>,
    /// When it may be dropped, in seconds since 1970.
    pub(super) exp: i64,
}

/// More ids than the verifier may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more ids are revoked than the verifier may keep ({0})")]
pub(super) struct Full(usize);

/// Why entries of the feed were not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Full(#[from] Full),
    /// Ids may have been missed or dropped because of a wrong clock: the feed must send everything
    /// again.
    #[error("the clock was set, or the machine was suspended: all revocations are requested again")]
    ClockJumped,
}

/// The revocation status of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenStatus {
    /// One of its ids is listed.
    Revoked,
    /// None is listed, and the list was complete this long ago.
    NotRevoked(Duration),
    /// None is listed, but the list has never been complete.
    Unknown,
}

/// The revocation list. It grows only by the feed and shrinks only by time: a new snapshot adds
/// entries, so that no reconnection makes a revoked token valid again.
///
/// The clock can be set to a wrong time and back. When wall clock and steady clock disagree,
/// nothing is dropped or skipped as expired, and the list is stale until the feed has sent a
/// snapshot: it contains the ids that had expired by the wrong clock.
pub(super) struct RevocationList {
    clock: Clock,
    capacity: usize,
    /// How long after its `exp` an id is still needed.
    kept_for: Duration,
    list: RwLock<List>,
}

impl RevocationList {
    pub(super) fn new(capacity: usize, leeway: Duration, clock: Clock) -> Self {
        let kept_for = leeway.saturating_add(MARGIN);
        let list = List {
            until: HashMap::new(),
            complete: None,
            has_overflowed: false,
            clocks_agreed_at: Stamp::now(&clock),
            doubt: MissingIds::None,
            has_jumped: false,
        };
        Self { clock, capacity, kept_for, list: RwLock::new(list) }
    }

    /// Call this before a stream of the feed is opened. Returns whether the stream must send the
    /// whole list, because the clock was set.
    #[must_use]
    pub(super) fn begin(&self) -> bool {
        let mut list = self.write();
        let now = Stamp::now(&self.clock);
        let _ = list.check(now);
        list.clocks_agreed_at = now;
        if list.doubt != MissingIds::None {
            list.doubt = MissingIds::Requested;
        }
        list.doubt == MissingIds::Requested
    }

    /// The revocation status of a token with these ids. The ids and the age are read together: a
    /// list that becomes complete in between must not confirm an earlier lookup.
    pub(super) fn status_of(&self, ids: &[Box<str>]) -> TokenStatus {
        let list = self.read();
        if ids.iter().any(|id| list.until.contains_key(id)) {
            return TokenStatus::Revoked;
        }
        self.age(&list).map_or(TokenStatus::Unknown, TokenStatus::NotRevoked)
    }

    /// How long ago it was complete; `None` if never.
    pub(super) fn staleness(&self) -> Option<Duration> {
        self.age(&self.read())
    }

    fn age(&self, list: &List) -> Option<Duration> {
        let complete = list.complete?;
        let is_unknown = list.has_overflowed || list.may_lack_ids(Stamp::now(&self.clock));
        Some(if is_unknown { Duration::MAX } else { complete.elapsed(&self.clock) })
    }

    /// Adds entries of the feed.
    ///
    /// # Errors
    /// [`ApplyError::Full`] when not all of them fit, [`ApplyError::ClockJumped`] when the clock
    /// was set. Then the list is stale until it is complete again.
    pub(super) fn add(&self, entries: Vec<FeedEntry>) -> Result<(), ApplyError> {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut list = self.write();
            let now = Stamp::now(&self.clock);
            list.check(now)?;
            for FeedEntry { id, exp } in entries.by_ref().take(BATCH) {
                let wall = Timestamp::from_unix_seconds(exp).plus(self.kept_for);
                let until = list.keep_until(wall, now);
                if let Some(known) = list.until.get_mut(&id) {
                    *known = until.max(*known);
                } else if until.has_expired(now) {
                    // Every token that it concerns has expired.
                } else if list.until.len() < self.capacity {
                    list.until.insert(id, until);
                } else {
                    list.has_overflowed = true;
                    return Err(Full(self.capacity).into());
                }
            }
        }
        Ok(())
    }

    /// Records that all revocations up to `age` ago have been added.
    ///
    /// # Errors
    /// [`ApplyError::ClockJumped`] when the clock was set, and entries may have been skipped.
    pub(super) fn complete(&self, age: Duration) -> Result<(), ApplyError> {
        let mut list = self.write();
        let now = Stamp::now(&self.clock);
        list.check(now)?;
        let moment = now.minus(age);
        if list.doubt == MissingIds::Requested {
            // The previous state was measured by another clock.
            list.complete = None;
        }
        (list.clocks_agreed_at, list.doubt) = (now, MissingIds::None);
        list.complete = Some(list.complete.map_or(moment, |before| before.max(moment)));
        list.has_overflowed = false;
        Ok(())
    }

    /// Drops entries that concern only expired tokens. It searches under a read lock, concurrently
    /// with requests, which wait for short batches only. Nothing is dropped while the list may lack
    /// ids because the clock was set.
    pub(super) fn purge(&self) {
        let over: Vec<Box<str>> = {
            let (list, now) = (self.read(), Stamp::now(&self.clock));
            let over = list.until.iter().filter(|(_, until)| until.has_expired(now));
            over.map(|(id, _)| id.clone()).collect()
        };
        for batch in over.chunks(BATCH) {
            let mut list = self.write();
            let now = Stamp::now(&self.clock);
            if list.check(now).is_err() {
                return;
            }
            for id in batch {
                // It may have arrived again meanwhile.
                if list.until.get(id).is_some_and(|until| until.has_expired(now)) {
                    list.until.remove(id);
                }
            }
        }
    }

    /// The number of ids.
    pub(super) fn len(&self) -> usize {
        self.read().until.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, List> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, List> {
        self.list.write().unwrap_or_else(PoisonError::into_inner)
    }
}
