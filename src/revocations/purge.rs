//! Removing expired revocations, from the database and then from the list.

use super::{Revocations, queries};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError};
use crate::locks;

/// The number of rows that a purge deletes in one unit, so that no other unit waits long for it:
/// they are scattered over the table, and each costs a page.
const PURGE_BATCH: i64 = 100;

/// The number of ids removed during one write lock of the list.
const EXPIRED_PER_LOCK: usize = 1000;

impl Revocations {
    /// Deletes a batch of expired rows. Returns whether there may be more. The caller passes `now`,
    /// having checked that the clock was right then: between two batches it may be set.
    ///
    /// # Errors
    /// [`StoreError`] when the rows cannot be deleted; the next call retries.
    pub async fn purge(&self, now: Timestamp) -> Result<bool, StoreError> {
        let deleted = self
            .db
            .write(move |tx| queries::delete_expired(tx.connection(), now, PURGE_BATCH))
            .await?;
        let is_more = i64::try_from(deleted) == Ok(PURGE_BATCH);
        if !is_more {
            // Only now: a row still stored would be read again, and sent to every subscriber as
            // new.
            self.drop_expired(now);
        }
        Ok(is_more)
    }

    /// Searches under a read lock, concurrently with requests, and removes in small batches. A
    /// revocation meanwhile waits for the search, and verification then waits for the revocation:
    /// milliseconds with a million entries.
    fn drop_expired(&self, now: Timestamp) {
        let has_expired = |expires_at: &Timestamp| *expires_at <= now;
        let expired: Vec<Id> = {
            let cache = locks::read(&self.cache);
            let all = cache.listed.iter().filter(|(_, expires_at)| has_expired(expires_at));
            all.map(|(id, _)| *id).collect()
        };
        for piece in expired.chunks(EXPIRED_PER_LOCK) {
            let mut cache = locks::write(&self.cache);
            for id in piece {
                // It may have been listed again meanwhile.
                if cache.listed.get(id).is_some_and(has_expired) {
                    cache.listed.remove(id);
                }
            }
        }
        if !expired.is_empty() {
            locks::read(&self.cache).log.drop_copy();
        }
    }
}
