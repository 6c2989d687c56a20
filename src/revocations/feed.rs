//! The revocation feed: this node's additions to the list, in order, for subscribers.
//!
//! A subscriber gets the whole list, then every addition. The feed never removes an entry, so
//! entries may be applied in any order and repeatedly. Additions are kept in a log of bounded
//! length. Each subscriber is only a cursor into it: one that reads too slowly falls off the log's
//! beginning and is told to reconnect; it delays nobody else.
//!
//! Events that are the same for many subscribers are created once. [`Revocations::publish`]
//! combines simultaneous additions into an [`FeedBatch`], which every subscriber gets that had the
//! previous one; others read the log themselves until they have caught up. A copy of the whole list
//! serves many new subscribers: an older copy plus the log since then is equivalent to a new one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{self, sleep, timeout_at};

use super::{RevocationCache, Revocations};
use crate::clock::Timestamp;
use crate::database::Id;
use crate::locks;

/// The capacity of the log, in entries. At 200 revocations a second, 50 s: longer than a subscriber
/// takes to reconnect, and than a stalled connection stays open.
const LOG_CAPACITY: usize = 10_000;

/// The maximum number of subscribers of one node. Each holds a connection, of which a node has ten
/// thousand per worker, and wakes up for every batch; more of them connect to another node.
pub const MAX_SUBSCRIBERS: usize = 5_000;

/// A copy of the whole list is used until it is this many entries old.
const MAX_COPY_AGE: u64 = 5_000;

/// The maximum number of entries in one event.
const ENTRIES_PER_BATCH: usize = 500;

/// How often a subscriber is told that it is up to date. A subscriber may treat silence of twice
/// that as a broken connection.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The minimum interval between two batches: revocations in between are sent together.
const MIN_PAUSE: Duration = Duration::from_millis(80);

/// The share of the interval for each subscriber. A write to one takes some 20 us, so sending takes
/// a twentieth of a core, however many there are. From 200 subscribers on it lengthens the
/// interval.
const PAUSE_PER_SUBSCRIBER: Duration = Duration::from_micros(400);

/// The maximum interval: revocations are sent within a second, however many subscribers there are.
const MAX_PAUSE: Duration = Duration::from_millis(800);

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationEntry {
    /// The token, session, client or key that was revoked.
    pub id: Id,
    /// When it may be dropped: every token that it concerns has expired.
    pub expires_at: Timestamp,
}

/// An event for a subscriber.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A part of the whole list.
    Listed(Vec<RevocationEntry>),
    /// Additions.
    Revoked(Vec<RevocationEntry>),
    /// Everything that was revoked up to this long ago, on every node, has been sent.
    Current(Duration),
    /// The current batch for all subscribers.
    Batch(Arc<FeedBatch>),
}

/// Additions since the previous batch and, periodically, the staleness.
#[derive(Debug)]
pub struct FeedBatch {
    from: u64,
    to: u64,
    /// The additions; may be empty.
    pub entries: Vec<RevocationEntry>,
    /// The staleness sent with it, if any.
    pub age: Option<Duration>,
    /// Everything that was revoked until then is included up to here.
    known_at: Instant,
    /// The number of staleness reports so far.
    beat: u64,
    /// Its text, written by the first subscriber that sends it.
    pub text: OnceLock<String>,
}

/// The additions to the list, in order.
pub(super) struct RevocationLog {
    /// The number of the first entry.
    first: u64,
    entries: VecDeque<RevocationEntry>,
    /// A copy of the whole list as of this log number, shared by its readers. It has its own lock,
    /// so that copying does not block verification, unless a revocation comes meanwhile:
    /// verification waits for the revocation, and that for the copy.
    copy: Mutex<Option<(u64, Arc<[RevocationEntry]>)>>,
    end: watch::Sender<u64>,
    /// Also held by each subscription.
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

    /// Entries of the copy have expired: new subscribers must not get them.
    pub(super) fn drop_copy(&self) {
        drop(locks::lock(&self.copy).take());
    }

    /// Some of the entries from this number on; `None` when the log no longer has them.
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

    /// The number of entries older than this number; `None` when it is older than the log.
    fn skipped(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

impl FeedBatch {
    /// The state before any addition.
    pub(super) fn first(known_at: Instant) -> Self {
        let (from, to, entries, age, beat) = (0, 0, Vec::new(), None, 0);
        Self { from, to, entries, age, known_at, beat, text: OnceLock::new() }
    }
}

/// The interval between two batches with this many subscribers.
fn pause(subscribers: usize) -> Duration {
    let subscribers = u32::try_from(subscribers).unwrap_or(u32::MAX);
    PAUSE_PER_SUBSCRIBER.saturating_mul(subscribers).clamp(MIN_PAUSE, MAX_PAUSE)
}

fn length(entries: &VecDeque<RevocationEntry>) -> u64 {
    entries.len().try_into().unwrap_or(u64::MAX)
}

/// A cursor into the feed. It is valid only for this run of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCursor {
    boot: u64,
    number: u64,
}

impl FeedCursor {
    /// Parses the output of [`FeedCursor`]'s `Display`; `None` for anything else.
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

/// The whole list at one time: a shared copy, and the additions since.
#[derive(Debug)]
pub struct Snapshot {
    /// The cursor after it.
    pub cursor: FeedCursor,
    copy: Arc<[RevocationEntry]>,
    since: Vec<RevocationEntry>,
}

impl Snapshot {
    /// This many entries from this index on; empty at the end. An entry that was listed again, for
    /// longer, appears a second time.
    pub fn piece(&self, from: usize, count: usize) -> impl Iterator<Item = RevocationEntry> + '_ {
        self.copy.iter().chain(&self.since).skip(from).take(count).copied()
    }
}

/// A subscriber's position in the feed.
pub struct Subscription {
    revocations: Revocations,
    number: u64,
    /// The part of the whole list that is still to be sent.
    copy: Option<(Arc<[RevocationEntry]>, usize)>,
    /// The last staleness report that was sent; `None` at first.
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
        // The whole log would be correct, too: it is longer than a copy's maximum age.
        let known = cache.log.skipped(number).unwrap_or(0);
        let since = cache.log.entries.iter().skip(known).copied().collect();
        Snapshot { cursor: self.cursor(cache.log.end()), copy, since }
    }

    /// Subscribes to the feed: from `after` on if that cursor is still valid, else from the
    /// beginning.
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

    /// Issues the batches, as long as it is polled.
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
                // Waiting entries are sent first: until then no staleness can be reported.
                end.mark_changed();
                sleep(MIN_PAUSE).await;
                continue;
            }
            sleep(pause(self.subscribers())).await;
        }
    }

    /// Issues a batch; returns whether it reports a staleness, and whether there is more for
    /// another batch.
    fn publish_batch(&self, is_beat: bool) -> (bool, bool) {
        let last = Arc::clone(&self.batches.borrow());
        let (end, batch) = {
            let cache = locks::read(&self.cache);
            let end = cache.log.end();
            // Subscribers that are this far behind are disconnected; the batches continue from
            // here.
            let (from, entries) =
                cache.log.since(last.to).map_or((end, Vec::new()), |new| (last.to, new));
            let to = from + u64::try_from(entries.len()).unwrap_or(u64::MAX);
            // With more entries to come it would not be true yet.
            let age = (is_beat && to == end).then(|| self.age(&cache));
            let known_at = if to == end { cache.known_at } else { last.known_at };
            let beat = last.beat + u64::from(age.is_some());
            (end, FeedBatch { from, to, entries, age, known_at, beat, text: OnceLock::new() })
        };
        let said = (batch.age.is_some(), batch.to < end);
        self.batches.send_replace(Arc::new(batch));
        said
    }

    /// The number of current subscribers.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        let cache = locks::read(&self.cache);
        Arc::strong_count(&cache.log.subscribers) - 1
    }

    /// Changes whenever an entry is added.
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

    /// A recent copy of the list, and the log number at which it ends.
    fn copy(&self) -> (u64, Arc<[RevocationEntry]>) {
        let end = self.log.end();
        let mut kept = locks::lock(&self.log.copy);
        let fresh = kept.take().filter(|(number, _)| end - number < MAX_COPY_AGE);
        kept.insert(fresh.unwrap_or_else(|| (end, self.entries().collect()))).clone()
    }
}

impl Subscription {
    /// The cursor after everything that has been sent.
    #[must_use]
    pub const fn cursor(&self) -> FeedCursor {
        self.revocations.cursor(self.number)
    }

    /// Waits for the next event. `None` when the subscriber was too slow: it has to reconnect and
    /// start from the beginning.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        if let Some(piece) = self.next_of_copy() {
            return Some(FeedEvent::Listed(piece));
        }
        loop {
            let batch = Arc::clone(&self.batches.borrow_and_update());
            let Some(beat) = self.beat else {
                // A subscriber that starts or reconnects accepts no token before it knows
                // everything.
                let (missed, age) = self.missed(u64::MAX)?;
                if missed.is_empty() {
                    self.beat = Some(batch.beat);
                    return Some(FeedEvent::Current(age));
                }
                return Some(self.next_revoked(missed));
            };
            let is_beat = batch.beat != beat;
            let says_something = batch.to > self.number || is_beat;
            // A batch without a staleness is insufficient if the previous one, which had one, was
            // missed.
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

    /// Some of the entries from here on, and the staleness of the whole.
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
