//! The log of additions to the list, of bounded length.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{ENTRIES_PER_BATCH, RevocationEntry};
use crate::locks;

/// The capacity of the log, in entries. At 200 revocations a second, 50 s: longer than a subscriber
/// takes to reconnect, and than a stalled connection stays open.
pub(super) const LOG_CAPACITY: usize = 10_000;

/// The additions to the list, in order.
pub(in crate::revocations) struct RevocationLog {
    /// The number of the first entry.
    pub(super) first: u64,
    pub(super) entries: VecDeque<RevocationEntry>,
    /// A copy of the whole list as of this log number, shared by its readers. It has its own lock,
    /// so that copying does not block verification, unless a revocation is added meanwhile:
    /// verification waits for the revocation, and that for the copy.
    pub(super) copy: Mutex<Option<(u64, Arc<[RevocationEntry]>)>>,
    pub(super) end: watch::Sender<u64>,
    /// Also held by each subscription.
    pub(super) subscribers: Arc<()>,
}

impl RevocationLog {
    pub(in crate::revocations) fn new() -> Self {
        let (first, entries) = (0, VecDeque::new());
        let (end, subscribers) = (watch::Sender::new(0), Arc::new(()));
        Self { first, entries, copy: Mutex::default(), end, subscribers }
    }

    pub(in crate::revocations) fn push(&mut self, entry: RevocationEntry) {
        if self.entries.len() == LOG_CAPACITY {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
        self.end.send_replace(self.first + length(&self.entries));
    }

    pub(super) fn end(&self) -> u64 {
        self.first + length(&self.entries)
    }

    /// Entries of the copy have expired: new subscribers must not get them.
    pub(in crate::revocations) fn drop_copy(&self) {
        drop(locks::lock(&self.copy).take());
    }

    /// Some of the entries from this number on; `None` when the log no longer has them.
    pub(super) fn since(&self, number: u64) -> Option<Vec<RevocationEntry>> {
        self.between(number, u64::MAX)
    }

    /// Some of the entries from `number` up to `end`; `None` when the log no longer has them.
    pub(super) fn between(&self, number: u64, end: u64) -> Option<Vec<RevocationEntry>> {
        let skipped = self.skipped(number)?;
        let count = usize::try_from(end.saturating_sub(number))
            .unwrap_or(usize::MAX)
            .min(ENTRIES_PER_BATCH);
        (skipped <= self.entries.len())
            .then(|| self.entries.iter().skip(skipped).take(count).copied().collect())
    }

    /// The number of entries older than this number; `None` when it is older than the log.
    pub(super) fn skipped(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

fn length(entries: &VecDeque<RevocationEntry>) -> u64 {
    entries.len().try_into().unwrap_or(u64::MAX)
}
