//! What this node's list learns, in order, for whoever follows it from outside.
//!
//! A subscriber gets the whole list, and then whatever is added; the list never takes anything back,
//! so adding it all up is right in any order and however often. What is new stands in a log of
//! bounded length. Each subscriber is a place in it and nothing more: one that reads too slowly is
//! overtaken by the log's beginning and told to come back, and nobody waits for it.
//!
//! What many are told alike is made once. [`Revocations::publish`] puts what came together into an
//! [`FeedBatch`], which everybody gets who had the one before; whoever had not reads the log by
//! itself until it has caught up. The whole list, for those who begin, is copied once for many of
//! them: an older copy and the log since then say the same as a new one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{self, sleep, timeout_at};

use super::{RevocationCache, Revocations};
use crate::clock::Timestamp;
use crate::database::Id;
use crate::locks;

/// Entries of the log. At 200 revocations a second, 50 s: longer than a subscriber takes to come
/// back, and than a connection is kept that takes nothing.
const LOG_CAPACITY: usize = 10_000;

/// Subscribers of one node at most. Each holds a connection, of which a node has ten thousand for a
/// worker, and wakes for every piece of news; further ones follow another node.
pub const MAX_SUBSCRIBERS: usize = 5_000;

/// A copy of the whole list serves until it is so many entries old.
const MAX_COPY_AGE: u64 = 5_000;

/// Entries in one piece of news at most.
const ENTRIES_PER_BATCH: usize = 500;

/// How often a subscriber is told that it knows everything. It may take silence of twice that for a
/// broken connection.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The least time between two editions: what is revoked meanwhile goes out together.
const MIN_PAUSE: Duration = Duration::from_millis(80);

/// The least time for each who gets them. To write to one takes some 20 us, so telling takes a
/// twentieth of a core, however many there are. From 200 on it makes the pause longer.
const PAUSE_PER_SUBSCRIBER: Duration = Duration::from_micros(400);

/// The most it makes of it: what is revoked is told within a second, however many follow.
const MAX_PAUSE: Duration = Duration::from_millis(800);

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationEntry {
    /// The token, session, client or key that was revoked.
    pub id: Id,
    /// When it may be forgotten: no token that it concerns is alive then.
    pub expires_at: Timestamp,
}

/// Something to tell a subscriber.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A part of the whole list.
    Listed(Vec<RevocationEntry>),
    /// What has been added.
    Revoked(Vec<RevocationEntry>),
    /// Everything that was revoked up to this long ago, on every node, has been told.
    Current(Duration),
    /// What everybody is told at this time.
    Batch(Arc<FeedBatch>),
}

/// What has been added since the edition before, and now and then how current that is.
#[derive(Debug)]
pub struct FeedBatch {
    from: u64,
    to: u64,
    /// What has been added; often nothing.
    pub entries: Vec<RevocationEntry>,
    /// The age that is told with it, if one is.
    pub age: Option<Duration>,
    /// Everything that was revoked until then is told up to here.
    known_at: Instant,
    /// How often an age has been told.
    beat: u64,
    /// Its text, written by the first who sends it.
    pub text: OnceLock<String>,
}

/// What the list learnt, in order.
pub(super) struct RevocationLog {
    /// The number of the first entry.
    first: u64,
    entries: VecDeque<RevocationEntry>,
    /// The whole list as it was when the log ended at this number, for all that want it. Behind a
    /// lock of its own, so that it is made beside those who verify, unless a revocation comes in the
    /// meantime: they wait for that, and that for the copy.
    copy: Mutex<Option<(u64, Arc<[RevocationEntry]>)>>,
    end: watch::Sender<u64>,
    /// Held by each subscription, too.
    subscribers: Arc<()>,
}

impl RevocationLog {
    pub(super) fn new() -> Self {
        let (first, entries) = (0, VecDeque::new());
        let (end, subscribers) = (watch::Sender::new(0), Arc::new(()));
        Self { first, entries, copy: Mutex::default(), end, subscribers }
    }

    pub(super) fn push(&mut self, entry: RevocationEntry) {
        if self.entries.len() == LOG_CAPACITY {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
        self.end.send_replace(self.first + length(&self.entries));
    }

    fn end(&self) -> u64 {
        self.first + length(&self.entries)
    }

    /// What was copied has expired: whoever comes now is not to be told of it.
    pub(super) fn drop_copy(&self) {
        drop(locks::lock(&self.copy).take());
    }

    /// Some of the entries from this number on; nothing when they are not there any more.
    fn since(&self, number: u64) -> Option<Vec<RevocationEntry>> {
        self.between(number, u64::MAX)
    }

    /// The same, up to another number.
    fn between(&self, number: u64, end: u64) -> Option<Vec<RevocationEntry>> {
        let skipped = self.skipped(number)?;
        let count = usize::try_from(end.saturating_sub(number))
            .unwrap_or(usize::MAX)
            .min(ENTRIES_PER_BATCH);
        (skipped <= self.entries.len())
            .then(|| self.entries.iter().skip(skipped).take(count).copied().collect())
    }

    /// How many of the entries are older than this number; nothing when it is older than the log.
    fn skipped(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

impl FeedBatch {
    /// Before anything was added.
    pub(super) fn first(known_at: Instant) -> Self {
        let (from, to, entries, age, beat) = (0, 0, Vec::new(), None, 0);
        Self { from, to, entries, age, known_at, beat, text: OnceLock::new() }
    }
}

/// The time between two editions that so many get.
fn pause(subscribers: usize) -> Duration {
    let subscribers = u32::try_from(subscribers).unwrap_or(u32::MAX);
    PAUSE_PER_SUBSCRIBER.saturating_mul(subscribers).clamp(MIN_PAUSE, MAX_PAUSE)
}

fn length(entries: &VecDeque<RevocationEntry>) -> u64 {
    entries.len().try_into().unwrap_or(u64::MAX)
}

/// A place in the feed. What it names it names for this start of this node only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCursor {
    boot: u64,
    number: u64,
}

impl FeedCursor {
    /// Reads what [`FeedCursor`]'s `Display` wrote; nothing for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (boot, number) = text.split_once('.')?;
        let boot = (boot.len() == 16).then(|| u64::from_str_radix(boot, 16).ok())??;
        Some(Self { boot, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}.{}", self.boot, self.number)
    }
}

/// The whole list at one moment: a copy that many share, and what came since.
#[derive(Debug)]
pub struct Snapshot {
    /// The place that it goes up to.
    pub cursor: FeedCursor,
    copy: Arc<[RevocationEntry]>,
    since: Vec<RevocationEntry>,
}

impl Snapshot {
    /// So many entries from this number on; none when that is the end. What was listed again, for
    /// longer, comes a second time.
    pub fn piece(&self, from: usize, count: usize) -> impl Iterator<Item = RevocationEntry> + '_ {
        self.copy.iter().chain(&self.since).skip(from).take(count).copied()
    }
}

/// Somebody who follows the feed.
pub struct Subscription {
    revocations: Revocations,
    number: u64,
    /// What has still to be told of the whole list.
    copy: Option<(Arc<[RevocationEntry]>, usize)>,
    /// The age that was told last; none yet at first.
    beat: Option<u64>,
    batches: watch::Receiver<Arc<FeedBatch>>,
    _subscriber: Arc<()>,
}

impl Revocations {
    /// The whole list.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let cache = locks::read(&self.cache);
        let (number, copy) = cache.copy();
        // All of the log would be right, too: it is longer than a copy grows old.
        let known = cache.log.skipped(number).unwrap_or(0);
        let since = cache.log.entries.iter().skip(known).copied().collect();
        Snapshot { cursor: self.cursor(cache.log.end()), copy, since }
    }

    /// Follows the feed: from `after` on if that place is still known, else from the beginning.
    #[must_use]
    pub fn subscribe(&self, after: Option<&FeedCursor>) -> Subscription {
        let cache = locks::read(&self.cache);
        let known =
            after.filter(|cursor| cursor.boot == self.boot && cursor.number >= cache.log.first);
        let (number, copy) = if let Some(cursor) = known {
            (cursor.number.min(cache.log.end()), None)
        } else {
            let (number, copy) = cache.copy();
            (number, Some((copy, 0)))
        };
        let (batches, subscriber) = (self.batches.subscribe(), Arc::clone(&cache.log.subscribers));
        let (revocations, beat) = (self.clone(), None);
        Subscription { revocations, number, copy, beat, batches, _subscriber: subscriber }
    }

    /// Makes the editions, for as long as it is polled.
    pub async fn publish(&self) {
        let mut end = self.changes();
        let mut beat_at = time::Instant::now();
        loop {
            let _ = timeout_at(beat_at, end.changed()).await;
            let is_beat = time::Instant::now() >= beat_at;
            let (tells_age, is_more) = self.publish_batch(is_beat);
            if tells_age {
                beat_at = time::Instant::now() + HEARTBEAT;
            }
            if is_more {
                // What waits is told first: until then nobody can be told how current that is.
                end.mark_changed();
                sleep(MIN_PAUSE).await;
                continue;
            }
            sleep(pause(self.subscribers())).await;
        }
    }

    /// Makes an edition, and says whether an age is told in it, and whether there is more for
    /// another.
    fn publish_batch(&self, is_beat: bool) -> (bool, bool) {
        let last = Arc::clone(&self.batches.borrow());
        let (end, batch) = {
            let cache = locks::read(&self.cache);
            let end = cache.log.end();
            // Who is so far behind is cut; the editions go on from here.
            let (from, entries) =
                cache.log.since(last.to).map_or((end, Vec::new()), |new| (last.to, new));
            let to = from + u64::try_from(entries.len()).unwrap_or(u64::MAX);
            // With more to come it would not be true yet.
            let age = (is_beat && to == end).then(|| self.age(&cache));
            let known_at = if to == end { cache.known_at } else { last.known_at };
            let beat = last.beat + u64::from(age.is_some());
            (end, FeedBatch { from, to, entries, age, known_at, beat, text: OnceLock::new() })
        };
        let said = (batch.age.is_some(), batch.to < end);
        self.batches.send_replace(Arc::new(batch));
        said
    }

    /// How many follow the feed now.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        let cache = locks::read(&self.cache);
        Arc::strong_count(&cache.log.subscribers) - 1
    }

    /// Changes whenever something is listed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        locks::read(&self.cache).log.end.subscribe()
    }

    const fn cursor(&self, number: u64) -> FeedCursor {
        FeedCursor { boot: self.boot, number }
    }
}

impl RevocationCache {
    fn entries(&self) -> impl Iterator<Item = RevocationEntry> + '_ {
        self.listed.iter().map(|(&id, &expires_at)| RevocationEntry { id, expires_at })
    }

    /// A copy of the list that is not too old, and the number at which its log goes on.
    fn copy(&self) -> (u64, Arc<[RevocationEntry]>) {
        let end = self.log.end();
        let mut kept = locks::lock(&self.log.copy);
        let fresh = kept.take().filter(|(number, _)| end - number < MAX_COPY_AGE);
        kept.insert(fresh.unwrap_or_else(|| (end, self.entries().collect()))).clone()
    }
}

impl Subscription {
    /// The place up to which everything has been told.
    #[must_use]
    pub const fn cursor(&self) -> FeedCursor {
        self.revocations.cursor(self.number)
    }

    /// Waits for the next thing to tell. Nothing when the subscriber was too slow: it has to come
    /// back and begin anew.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        if let Some(piece) = self.next_of_copy() {
            return Some(FeedEvent::Listed(piece));
        }
        loop {
            let batch = Arc::clone(&self.batches.borrow_and_update());
            let Some(beat) = self.beat else {
                // Whoever begins, or comes back, believes no token before it knows everything.
                let (missed, age) = self.missed(u64::MAX)?;
                if missed.is_empty() {
                    self.beat = Some(batch.beat);
                    return Some(FeedEvent::Current(age));
                }
                return Some(self.next_revoked(missed));
            };
            let is_beat = batch.beat != beat;
            let says_something = batch.to > self.number || is_beat;
            // One that comes after another with an age, which was missed, leaves that out.
            let says_all = batch.from == self.number && (batch.age.is_some() || !is_beat);
            if says_something && says_all {
                (self.number, self.beat) = (batch.to, Some(batch.beat));
                return Some(FeedEvent::Batch(batch));
            }
            if self.number < batch.to {
                let (missed, _) = self.missed(batch.to)?;
                return Some(self.next_revoked(missed));
            }
            if is_beat {
                self.beat = Some(batch.beat);
                let now = self.revocations.clock.monotonic();
                return Some(FeedEvent::Current(now.saturating_duration_since(batch.known_at)));
            }
            self.batches.changed().await.ok()?;
        }
    }

    fn next_revoked(&mut self, missed: Vec<RevocationEntry>) -> FeedEvent {
        self.number += u64::try_from(missed.len()).unwrap_or(u64::MAX);
        FeedEvent::Revoked(missed)
    }

    /// Some of what the log says from here on, and how current it is as a whole.
    fn missed(&self, up_to: u64) -> Option<(Vec<RevocationEntry>, Duration)> {
        let cache = locks::read(&self.revocations.cache);
        Some((cache.log.between(self.number, up_to)?, self.revocations.age(&cache)))
    }

    fn next_of_copy(&mut self) -> Option<Vec<RevocationEntry>> {
        let (copy, sent) = self.copy.as_mut()?;
        let piece: Vec<RevocationEntry> =
            copy.iter().skip(*sent).take(ENTRIES_PER_BATCH).copied().collect();
        *sent += piece.len();
        if piece.is_empty() {
            self.copy = None;
            return None;
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> RevocationEntry {
        let id = Id::from(uuid::Uuid::from_u128(number.into()));
        RevocationEntry { id, expires_at: Timestamp::from_unix_seconds(1) }
    }

    #[test]
    fn a_bounded_log_reports_lost_entries() {
        let mut log = RevocationLog::new();
        let count = u64::try_from(LOG_CAPACITY).unwrap() + 3;
        (0..count).for_each(|number| log.push(entry(number)));
        assert_eq!(log.entries.len(), LOG_CAPACITY);
        assert_eq!(log.end(), count);
        assert_eq!(log.since(2), None);
        assert_eq!(log.since(3).unwrap()[0], entry(3));
        assert_eq!(log.since(count - 1).unwrap(), [entry(count - 1)]);
        assert_eq!(log.since(count).unwrap(), []);
        assert_eq!(log.since(count + 1), None);
    }

    #[test]
    fn every_number_of_subscribers_is_notified_within_a_second() {
        assert_eq!(pause(0), MIN_PAUSE);
        assert_eq!(pause(1000), Duration::from_millis(400));
        // Their share of the writing comes on top.
        assert!(pause(MAX_SUBSCRIBERS) + Duration::from_micros(20) * 5000 < Duration::from_secs(1));
    }

    #[test]
    fn a_cursor_round_trips() {
        let cursor = FeedCursor { boot: 0xfe, number: 7 };
        assert_eq!(cursor.to_string(), "00000000000000fe.7");
        assert_eq!(FeedCursor::parse("00000000000000fe.7"), Some(cursor));
        for other in ["", "7", "fe.7", "00000000000000fe.", "00000000000000fe.-1", "x"] {
            assert_eq!(FeedCursor::parse(other), None, "{other}");
        }
    }
}
