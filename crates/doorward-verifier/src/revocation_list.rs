//! The revocation list, and how long ago it was last known to be complete.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Deserialize;

use super::suspend_aware_clock::Stamp;
use doorward_tokens::clock::{Clock, Timestamp};

/// How much longer than its `exp` plus the leeway an id is kept: for a wrong clock that is
/// corrected.
const MARGIN: Duration = Duration::from_secs(60);

/// The minimum time by the steady clock that an id is kept if it arrives after the clock was set:
/// either of the two times may be the right one.
const KEPT_AFTER_A_JUMP: Duration = Duration::from_secs(3600);

/// The maximum time by the steady clock that an id is kept once it has expired by the wall clock: a
/// clock that is years behind at the start must not fill the list for years.
const KEPT_BY_STEADY_CLOCK: Duration = Duration::from_secs(24 * 3600);

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
    Jumped,
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

struct List {
    until: HashMap<Box<str>, Until>,
    complete: Option<Stamp>,
    /// An entry did not fit since the list was last complete.
    is_short: bool,
    /// When both clocks last agreed.
    agreed: Stamp,
    doubt: Doubt,
    /// The clock was set since the start.
    has_jumped: bool,
}

/// Until when an id is kept: until it has expired by both clocks.
#[derive(Clone, Copy)]
struct Until {
    wall: Timestamp,
    steady: Timestamp,
}

impl Until {
    fn is_over(self, now: Stamp) -> bool {
        now.is_past(self.wall, self.steady)
    }

    fn max(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), steady: self.steady.max(other.steady) }
    }
}

/// Whether the list may lack ids because the clock was set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// It may, and the open stream may have resumed in the middle.
    Raised,
    /// It may, and the open stream sends everything.
    Asked,
}

impl List {
    fn is_doubtful(&self, now: Stamp) -> bool {
        self.doubt != Doubt::None || self.agreed.disagrees(now)
    }

    /// Detects whether the clock was set. It is called before anything is dropped, skipped or
    /// reported complete.
    fn check(&mut self, now: Stamp) -> Result<(), ApplyError> {
        if self.agreed.disagrees(now) {
            self.doubt = Doubt::Raised;
            self.has_jumped = true;
        }
        if self.doubt == Doubt::Raised { Err(ApplyError::Jumped) } else { Ok(()) }
    }

    /// Until when an id is kept that arrives now.
    fn keep_until(&self, wall: Timestamp, now: Stamp) -> Until {
        let at_least = if self.has_jumped { KEPT_AFTER_A_JUMP } else { Duration::ZERO };
        Until { wall, steady: now.steady_at(wall, at_least, KEPT_BY_STEADY_CLOCK) }
    }
}

impl RevocationList {
    pub(super) fn new(capacity: usize, leeway: Duration, clock: Clock) -> Self {
        let kept_for = leeway.saturating_add(MARGIN);
        let list = List {
            until: HashMap::new(),
            complete: None,
            is_short: false,
            agreed: Stamp::now(&clock),
            doubt: Doubt::None,
            has_jumped: false,
        };
        Self { clock, capacity, kept_for, list: RwLock::new(list) }
    }

    /// To be called before a stream of the feed is opened. True when it must send everything,
    /// because the clock was set.
    #[must_use]
    pub(super) fn begin(&self) -> bool {
        let mut list = self.write();
        let now = Stamp::now(&self.clock);
        let _ = list.check(now);
        list.agreed = now;
        if list.doubt != Doubt::None {
            list.doubt = Doubt::Asked;
        }
        list.doubt == Doubt::Asked
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
        let is_unknown = list.is_short || list.is_doubtful(Stamp::now(&self.clock));
        Some(if is_unknown { Duration::MAX } else { complete.elapsed(&self.clock) })
    }

    /// Adds entries of the feed.
    ///
    /// # Errors
    /// [`ApplyError::Full`] when not all of them fit, [`ApplyError::Jumped`] when the clock was
    /// set. Then the list is stale until it is complete again.
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
                } else if until.is_over(now) {
                    // Every token that it concerns has expired.
                } else if list.until.len() < self.capacity {
                    list.until.insert(id, until);
                } else {
                    list.is_short = true;
                    return Err(Full(self.capacity).into());
                }
            }
        }
        Ok(())
    }

    /// Records that all revocations up to `age` ago have been added.
    ///
    /// # Errors
    /// [`ApplyError::Jumped`] when the clock was set, and entries may have been skipped.
    pub(super) fn complete(&self, age: Duration) -> Result<(), ApplyError> {
        let mut list = self.write();
        let now = Stamp::now(&self.clock);
        list.check(now)?;
        let moment = now.minus(age);
        if list.doubt == Doubt::Asked {
            // The previous state was measured by another clock.
            list.complete = None;
        }
        (list.agreed, list.doubt) = (now, Doubt::None);
        list.complete = Some(list.complete.map_or(moment, |before| before.max(moment)));
        list.is_short = false;
        Ok(())
    }

    /// Drops entries that concern only expired tokens. It searches under a read lock, concurrently
    /// with requests, which wait for short batches only. Nothing is dropped while the list may lack
    /// ids because the clock was set.
    pub(super) fn purge(&self) {
        let over: Vec<Box<str>> = {
            let (list, now) = (self.read(), Stamp::now(&self.clock));
            let over = list.until.iter().filter(|(_, until)| until.is_over(now));
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
                if list.until.get(id).is_some_and(|until| until.is_over(now)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const LEEWAY: Duration = Duration::from_secs(30);

    fn list(capacity: usize) -> (RevocationList, Clock) {
        let clock = Clock::manual(Timestamp::from_unix_seconds(NOW));
        (RevocationList::new(capacity, LEEWAY, clock.clone()), clock)
    }

    fn entry(id: &str, exp: i64) -> FeedEntry {
        FeedEntry { id: id.into(), exp }
    }

    fn status_of(list: &RevocationList, id: &str) -> TokenStatus {
        list.status_of(&["other".into(), id.into()])
    }

    #[test]
    fn before_the_list_is_complete_only_listed_ids_are_known() {
        let (list, _) = list(10);
        list.add(vec![entry("a", NOW + 600)]).unwrap();
        assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
        assert_eq!(status_of(&list, "b"), TokenStatus::Unknown);
        list.complete(Duration::from_secs(2)).unwrap();
        assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
        assert_eq!(status_of(&list, "b"), TokenStatus::NotRevoked(Duration::from_secs(2)));
    }

    #[test]
    fn the_age_counts_from_the_best_that_was_known() {
        let (list, clock) = list(10);
        list.complete(Duration::from_secs(1)).unwrap();
        clock.advance(Duration::from_secs(3));
        assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
        list.complete(Duration::from_secs(60)).unwrap();
        assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
        list.complete(Duration::ZERO).unwrap();
        assert_eq!(list.staleness(), Some(Duration::ZERO));
    }

    #[test]
    fn an_id_is_kept_until_no_token_can_need_it() {
        let (list, clock) = list(10);
        list.complete(Duration::ZERO).unwrap();
        list.add(vec![entry("a", NOW + 10), entry("b", NOW + 500), entry("old", NOW - 91)])
            .unwrap();
        list.add(vec![entry("a", NOW + 5)]).unwrap();
        assert_eq!(list.len(), 2);
        clock.advance(Duration::from_secs(99));
        list.purge();
        assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
        clock.advance(Duration::from_secs(1));
        list.purge();
        assert!(matches!(status_of(&list, "a"), TokenStatus::NotRevoked(_)));
        assert_eq!(status_of(&list, "b"), TokenStatus::Revoked);
        list.add(vec![entry("forever", i64::MAX)]).unwrap();
        clock.advance(Duration::from_secs(1 << 32));
        list.purge();
        assert_eq!(status_of(&list, "forever"), TokenStatus::Revoked);
    }

    #[test]
    fn entries_beyond_the_capacity_make_the_list_stale_and_drop_nothing() {
        let (list, clock) = list(2_500);
        list.complete(Duration::ZERO).unwrap();
        let entries =
            |from: usize, to| (from..to).map(|n| entry(&n.to_string(), NOW + 60)).collect();
        list.add(entries(0, 2_500)).unwrap();
        list.add(entries(0, 2_500)).unwrap();
        assert_eq!(list.staleness(), Some(Duration::ZERO));
        assert_eq!(list.add(entries(2_400, 2_600)), Err(ApplyError::Full(Full(2_500))));
        assert_eq!((list.len(), list.staleness()), (2_500, Some(Duration::MAX)));
        assert_eq!(status_of(&list, "0"), TokenStatus::Revoked);
        assert_eq!(status_of(&list, "2550"), TokenStatus::NotRevoked(Duration::MAX));
        clock.advance(Duration::from_secs(150));
        list.purge();
        assert_eq!(list.len(), 0);
        list.complete(Duration::ZERO).unwrap();
        assert_eq!(list.staleness(), Some(Duration::ZERO));
    }
}
