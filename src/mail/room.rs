//! Room for new rows. The table is bounded, and strangers can make any number of requests; they
//! must not keep owners from resets.
//!
//! Registrations and changes of address have at most three quarters of the rows. In a full table,
//! or share, a new request takes the place of the oldest ones:
//!
//! - Registrations and changes whose codes have expired are deleted.
//! - Otherwise the oldest requests of a purpose stop counting for the limit on requests, with or
//!   without a message: if that depended on the message, the limit would tell which addresses have
//!   an account. Those without a message are deleted. The others stay: their links and codes are
//!   valid.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use diesel::QueryResult;

use super::queries::{self, NewRow, eviction};
use super::{Mail, MailPurpose};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, StoreError, Tx};

/// The purposes whose messages contain a code only.
const CODES: [MailPurpose; 2] = [MailPurpose::Registration, MailPurpose::EmailChange];

/// Rows that one statement handles.
const BATCH: i64 = 100;

/// Batches of one purpose that one request handles.
const MAX_BATCHES: usize = 4;

/// The number of rows at the last count, plus those inserted since.
#[derive(Debug, Default)]
pub(super) struct RowCounts {
    all: AtomicU64,
    codes: AtomicU64,
}

impl Mail {
    /// Inserts a row if there is room. A notice is never rejected.
    pub(super) fn enqueue(&self, tx: &mut Tx<'_>, row: &NewRow) -> QueryResult<bool> {
        let is_code = CODES.contains(&row.purpose);
        let max_rows = self.policy.max_rows;
        let is_share_full = is_code && self.rows.codes.load(Relaxed) >= max_rows / 4 * 3;
        let is_full = self.rows.all.load(Relaxed) >= max_rows;
        if is_share_full || is_full {
            let evicted = self.evict(tx, is_share_full, row.created_at)?;
            if evicted == 0 && row.purpose != MailPurpose::Notice {
                return Ok(false);
            }
        }
        queries::insert(tx.connection(), row)?;
        let rows = self.rows.clone();
        tx.after_commit(move || {
            rows.all.fetch_add(1, Relaxed);
            rows.codes.fetch_add(u64::from(is_code), Relaxed);
        });
        Ok(true)
    }

    /// Makes room: among registrations and changes only, or among all requests. Returns the number
    /// of deleted rows.
    fn evict(&self, tx: &mut Tx<'_>, among_codes: bool, now: Timestamp) -> QueryResult<usize> {
        let mut codes = 0;
        for purpose in CODES {
            codes += self.evict_expired_codes(tx.connection(), purpose, now)?;
        }
        let mut resets = 0;
        if codes == 0 && !among_codes {
            resets = evict_oldest(tx.connection(), MailPurpose::Reset)?;
        }
        for purpose in CODES {
            if codes + resets == 0 {
                codes = evict_oldest(tx.connection(), purpose)?;
            }
        }
        let this = self.clone();
        tx.after_commit(move || {
            subtract(&this.rows.codes, codes);
            subtract(&this.rows.all, codes + resets);
        });
        Ok(codes + resets)
    }

    /// Deletes a batch of requests whose codes have expired.
    fn evict_expired_codes(
        &self,
        connection: &mut AnyConnection,
        purpose: MailPurpose,
        now: Timestamp,
    ) -> QueryResult<usize> {
        let no_longer_valid = now.minus(self.policy.lifetimes.code);
        // Rows expire this long after their message was handed over or abandoned, or none chosen.
        let expires_at = self.expiry(no_longer_valid);
        let counted_since = now.minus(self.window(purpose));
        eviction::delete_expired_codes(connection, purpose, expires_at, counted_since, BATCH)
    }

    /// Notes that rows were deleted.
    pub(super) fn subtract_rows(&self, deleted: usize) {
        subtract(&self.rows.all, deleted);
    }

    /// Counts the rows, for the limit on their number.
    pub(super) async fn count_rows(&self) -> Result<(), StoreError> {
        let count = |c: &mut AnyConnection| {
            Ok((queries::count(c)?, eviction::count(c, &CODES.map(MailPurpose::as_str))?))
        };
        let (all, codes) = self.db.read(count).await?;
        self.rows.all.store(u64::try_from(all).unwrap_or(0), Relaxed);
        self.rows.codes.store(u64::try_from(codes).unwrap_or(0), Relaxed);
        Ok(())
    }
}

/// Stops counting the oldest requests of a purpose, and deletes those without a message, until it
/// has deleted some. Returns their number.
fn evict_oldest(connection: &mut AnyConnection, purpose: MailPurpose) -> QueryResult<usize> {
    for _ in 0..MAX_BATCHES {
        let oldest = eviction::oldest_counted(connection, purpose, BATCH)?;
        let deleted = eviction::uncount(connection, &oldest)?;
        if deleted > 0 || oldest.is_empty() {
            return Ok(deleted);
        }
    }
    Ok(0)
}

fn subtract(rows: &AtomicU64, deleted: usize) {
    let deleted = u64::try_from(deleted).unwrap_or(0);
    let _ = rows.fetch_update(Relaxed, Relaxed, |rows| Some(rows.saturating_sub(deleted)));
}
