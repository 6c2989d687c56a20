//! Issuing the batches for all subscribers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, sleep, timeout_at};

use super::{FeedBatch, Revocations};
use crate::locks;

/// How often a subscriber is told that it is up to date. A subscriber may treat silence of twice
/// that as a broken connection.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The minimum interval between two batches: revocations in between are sent together.
pub(super) const MIN_PAUSE: Duration = Duration::from_millis(80);

/// The share of the interval for each subscriber. A write to one takes some 20 us, so sending takes
/// a twentieth of a core, however many there are. From 200 subscribers on it lengthens the
/// interval.
const PAUSE_PER_SUBSCRIBER: Duration = Duration::from_micros(400);

/// The maximum interval: revocations are sent within a second, however many subscribers there are.
const MAX_PAUSE: Duration = Duration::from_millis(800);

impl Revocations {
    /// Issues the batches, as long as it is polled.
    pub async fn publish(&self) {
        let mut end = self.changes();
        let mut next_report_at = time::Instant::now();
        loop {
            let _ = timeout_at(next_report_at, end.changed()).await;
            let is_report_due = time::Instant::now() >= next_report_at;
            let (reports_staleness, is_more) = self.publish_batch(is_report_due);
            if reports_staleness {
                next_report_at = time::Instant::now() + HEARTBEAT;
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
    fn publish_batch(&self, is_report_due: bool) -> (bool, bool) {
        let last = Arc::clone(&self.batches.borrow());
        let (end, batch) = {
            let cache = locks::read(&self.cache);
            let end = cache.log.end();
            // Subscribers that are this far behind are disconnected; the batches continue from
            // here.
            let (from, entries) =
                cache.log.since(last.to).map_or((end, Vec::new()), |new| (last.to, new));
            let to = from + u64::try_from(entries.len()).unwrap_or(u64::MAX);
            // While further entries are to be sent, the list is not complete.
            let age = (is_report_due && to == end).then(|| self.age(&cache));
            let known_at = if to == end { cache.known_at } else { last.known_at };
            let report_number = last.report_number + u64::from(age.is_some());
            let text = OnceLock::new();
            (end, FeedBatch { from, to, entries, age, known_at, report_number, text })
        };
        let (reports_staleness, is_more) = (batch.age.is_some(), batch.to < end);
        self.batches.send_replace(Arc::new(batch));
        (reports_staleness, is_more)
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
}

/// The interval between two batches with this many subscribers.
pub(super) fn pause(subscribers: usize) -> Duration {
    let subscribers = u32::try_from(subscribers).unwrap_or(u32::MAX);
    PAUSE_PER_SUBSCRIBER.saturating_mul(subscribers).clamp(MIN_PAUSE, MAX_PAUSE)
}
