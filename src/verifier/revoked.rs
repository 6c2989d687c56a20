//! What was revoked, and how long ago that was last known to be all.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde::Deserialize;

use super::moment::Moment;
use crate::clock::{Clock, Timestamp};

/// How much longer than its `exp` and the leeway an id is kept: for a clock that was wrong and is
/// set right.
const MARGIN: Duration = Duration::from_secs(60);

/// Ids that are taken in, or dropped, before readers get their turn.
const BATCH: usize = 1_000;

/// An id of the feed: a `jti`, a `sid`, a client's id or a `kid`, exactly as tokens spell it.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) id: Box<str>,
    /// When it may be forgotten, in seconds since 1970.
    pub(super) exp: i64,
}

/// More ids than the verifier was allowed to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more ids are revoked than the verifier was allowed to keep ({0})")]
pub(super) struct Full(usize);

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// One of its ids is listed.
    Revoked,
    /// None is listed, and this long ago the list was complete.
    Good(Duration),
    /// None is listed, but the list has never been complete.
    Unknown,
}

/// The list. It only grows by what the feed says, and only shrinks by time: a new snapshot adds, so
/// that no reconnection makes a revoked token good again.
pub(super) struct Revoked {
    clock: Clock,
    capacity: usize,
    /// How long after its `exp` an id still matters.
    kept_for: Duration,
    list: RwLock<List>,
}

#[derive(Default)]
struct List {
    until: HashMap<Box<str>, Timestamp>,
    complete: Option<Moment>,
    /// Something did not fit in since the list was last complete.
    is_short: bool,
}

impl Revoked {
    pub(super) fn new(capacity: usize, leeway: Duration, clock: Clock) -> Self {
        let kept_for = leeway.saturating_add(MARGIN);
        Self { clock, capacity, kept_for, list: RwLock::default() }
    }

    /// How a token with these ids stands. The ids and the age are read at one moment: a list that
    /// becomes complete in between must not vouch for what was read before.
    pub(super) fn standing(&self, ids: &[Box<str>]) -> Standing {
        let list = self.read();
        if ids.iter().any(|id| list.until.contains_key(id)) {
            return Standing::Revoked;
        }
        self.age(&list).map_or(Standing::Unknown, Standing::Good)
    }

    /// How long ago it was complete; `None` when it never was.
    pub(super) fn staleness(&self) -> Option<Duration> {
        self.age(&self.read())
    }

    fn age(&self, list: &List) -> Option<Duration> {
        let complete = list.complete?;
        Some(if list.is_short { Duration::MAX } else { complete.elapsed(&self.clock) })
    }

    /// Adds what the feed says.
    ///
    /// # Errors
    /// [`Full`] when not all of it fits in. The list is stale then, until it is complete again.
    pub(super) fn add(&self, entries: Vec<Entry>) -> Result<(), Full> {
        let now = self.clock.now();
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let mut list = self.write();
            for Entry { id, exp } in entries.by_ref().take(BATCH) {
                let until = Timestamp::from_unix_seconds(exp).plus(self.kept_for);
                if let Some(known) = list.until.get_mut(&id) {
                    *known = until.max(*known);
                } else if until <= now {
                    // Whatever it names has expired.
                } else if list.until.len() < self.capacity {
                    list.until.insert(id, until);
                } else {
                    list.is_short = true;
                    return Err(Full(self.capacity));
                }
            }
        }
        Ok(())
    }

    /// All that was revoked up to `age` ago has been added.
    pub(super) fn complete(&self, age: Duration) {
        let moment = Moment::now(&self.clock).minus(age);
        let mut list = self.write();
        list.complete = Some(list.complete.map_or(moment, |before| before.max(moment)));
        list.is_short = false;
    }

    /// Drops what names only tokens that have expired. It is looked for beside the requests that
    /// read the list; they wait for short batches only.
    pub(super) fn purge(&self) {
        let now = self.clock.now();
        let over: Vec<Box<str>> = {
            let list = self.read();
            let over = list.until.iter().filter(|(_, until)| **until <= now);
            over.map(|(id, _)| id.clone()).collect()
        };
        for batch in over.chunks(BATCH) {
            let mut list = self.write();
            for id in batch {
                list.until.remove(id);
            }
        }
    }

    /// How many ids it holds.
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

    fn list(capacity: usize) -> (Revoked, Clock) {
        let clock = Clock::manual(Timestamp::from_unix_seconds(NOW));
        (Revoked::new(capacity, LEEWAY, clock.clone()), clock)
    }

    fn entry(id: &str, exp: i64) -> Entry {
        Entry { id: id.into(), exp }
    }

    fn standing(list: &Revoked, id: &str) -> Standing {
        list.standing(&["other".into(), id.into()])
    }

    #[test]
    fn nothing_is_known_before_the_list_was_complete_but_what_is_listed_is() {
        let (list, _) = list(10);
        list.add(vec![entry("a", NOW + 600)]).unwrap();
        assert_eq!(standing(&list, "a"), Standing::Revoked);
        assert_eq!(standing(&list, "b"), Standing::Unknown);
        list.complete(Duration::from_secs(2));
        assert_eq!(standing(&list, "a"), Standing::Revoked);
        assert_eq!(standing(&list, "b"), Standing::Good(Duration::from_secs(2)));
    }

    #[test]
    fn the_age_counts_from_the_best_that_was_known() {
        let (list, clock) = list(10);
        list.complete(Duration::from_secs(1));
        clock.advance(Duration::from_secs(3));
        assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
        list.complete(Duration::from_secs(60));
        assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
        list.complete(Duration::ZERO);
        assert_eq!(list.staleness(), Some(Duration::ZERO));
    }

    #[test]
    fn an_id_is_kept_until_no_token_can_need_it() {
        let (list, clock) = list(10);
        list.complete(Duration::ZERO);
        list.add(vec![entry("a", NOW + 10), entry("b", NOW + 500), entry("old", NOW - 91)])
            .unwrap();
        list.add(vec![entry("a", NOW + 5)]).unwrap();
        assert_eq!(list.len(), 2);
        clock.advance(Duration::from_secs(99));
        list.purge();
        assert_eq!(standing(&list, "a"), Standing::Revoked);
        clock.advance(Duration::from_secs(1));
        list.purge();
        assert!(matches!(standing(&list, "a"), Standing::Good(_)));
        assert_eq!(standing(&list, "b"), Standing::Revoked);
        list.add(vec![entry("forever", i64::MAX)]).unwrap();
        clock.advance(Duration::from_secs(1 << 32));
        list.purge();
        assert_eq!(standing(&list, "forever"), Standing::Revoked);
    }

    #[test]
    fn what_does_not_fit_in_makes_the_list_stale_and_forgets_nothing() {
        let (list, clock) = list(2_500);
        list.complete(Duration::ZERO);
        let entries =
            |from: usize, to| (from..to).map(|n| entry(&n.to_string(), NOW + 60)).collect();
        list.add(entries(0, 2_500)).unwrap();
        list.add(entries(0, 2_500)).unwrap();
        assert_eq!(list.staleness(), Some(Duration::ZERO));
        assert_eq!(list.add(entries(2_400, 2_600)), Err(Full(2_500)));
        assert_eq!((list.len(), list.staleness()), (2_500, Some(Duration::MAX)));
        assert_eq!(standing(&list, "0"), Standing::Revoked);
        assert_eq!(standing(&list, "2550"), Standing::Good(Duration::MAX));
        clock.advance(Duration::from_secs(150));
        list.purge();
        assert_eq!(list.len(), 0);
        list.complete(Duration::ZERO);
        assert_eq!(list.staleness(), Some(Duration::ZERO));
    }
}
