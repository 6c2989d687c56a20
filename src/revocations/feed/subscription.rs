//! The events that one subscriber gets, in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{ENTRIES_PER_BATCH, FeedBatch, FeedCursor, FeedEvent, RevocationEntry, Revocations};
use crate::locks;

/// A subscriber's position in the feed.
pub struct Subscription {
    revocations: Revocations,
    number: u64,
    /// The part of the whole list that is still to be sent.
    copy: Option<(Arc<[RevocationEntry]>, usize)>,
    /// The number of the last staleness report that was sent; `None` at first.
    report_number: Option<u64>,
    batches: watch::Receiver<Arc<FeedBatch>>,
    /// Counted by [`Revocations::subscribers`] while it lives.
    _counted: Arc<()>,
}

impl Revocations {
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
        let (batches, counted) = (self.batches.subscribe(), Arc::clone(&cache.log.subscribers));
        let (revocations, report_number) = (self.clone(), None);
        Subscription { revocations, number, copy, report_number, batches, _counted: counted }
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
            let Some(last_report) = self.report_number else {
                // A subscriber that starts or reconnects accepts no token before it knows
                // everything.
                let (missed, age) = self.missed(u64::MAX)?;
                if missed.is_empty() {
                    self.report_number = Some(batch.report_number);
                    return Some(FeedEvent::Current(age));
                }
                return Some(self.next_revoked(missed));
            };
            let is_new_report = batch.report_number != last_report;
            let is_news = batch.to > self.number || is_new_report;
            // A batch without a staleness is insufficient if the previous one, which had one, was
            // missed.
            let is_sufficient =
                batch.from == self.number && (batch.age.is_some() || !is_new_report);
            if is_news && is_sufficient {
                (self.number, self.report_number) = (batch.to, Some(batch.report_number));
                return Some(FeedEvent::Batch(batch));
            }
            if self.number < batch.to {
                let (missed, _) = self.missed(batch.to)?;
                return Some(self.next_revoked(missed));
            }
            if is_new_report {
                self.report_number = Some(batch.report_number);
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
