//! The whole list at one time.

use std::sync::Arc;

use super::{FeedCursor, RevocationCache, RevocationEntry, Revocations};
use crate::locks;

/// A copy of the whole list is used until it is this many entries old.
const MAX_COPY_AGE: u64 = 5_000;

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
}

impl RevocationCache {
    /// A recent copy of the list, and the log number at which it ends.
    pub(super) fn copy(&self) -> (u64, Arc<[RevocationEntry]>) {
        let end = self.log.end();
        let mut kept = locks::lock(&self.log.copy);
        let fresh = kept.take().filter(|(number, _)| end - number < MAX_COPY_AGE);
        kept.insert(fresh.unwrap_or_else(|| (end, self.entries().collect()))).clone()
    }

    fn entries(&self) -> impl Iterator<Item = RevocationEntry> + '_ {
        self.listed.iter().map(|(&id, &expires_at)| RevocationEntry { id, expires_at })
    }
}
