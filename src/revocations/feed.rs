//! The revocation feed: this node's additions to the list, in order, for subscribers.
//!
//! A subscriber gets the whole list, then every addition. The feed never removes an entry, so
//! entries may be applied in any order and repeatedly. Additions are kept in a log of bounded
//! length, and each subscriber is only a cursor into it. One that reads so slowly that the log no
//! longer has its next entry must reconnect; it does not delay the others.
//!
//! Events that are the same for many subscribers are created once. [`Revocations::publish`]
//! combines simultaneous additions into a [`FeedBatch`], which every subscriber gets that had the
//! previous one; others read the log themselves until they have caught up. A copy of the whole list
//! serves many new subscribers: an older copy plus the log since then is equivalent to a new one.

mod cursor;
mod log;
mod publish;
mod snapshot;
mod subscription;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{RevocationCache, Revocations};
use crate::clock::Timestamp;
use crate::database::Id;

pub use cursor::FeedCursor;
pub(super) use log::RevocationLog;
pub use snapshot::Snapshot;
pub use subscription::Subscription;

/// The maximum number of subscribers of one node. Each holds a connection, of which a node has ten
/// thousand per worker, and wakes up for every batch; more of them connect to another node.
pub const MAX_SUBSCRIBERS: usize = 5_000;

/// The maximum number of entries in one event.
const ENTRIES_PER_BATCH: usize = 500;

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
    /// With the entries up to `to`, the list contains everything that was revoked until then.
    known_at: Instant,
    /// The number of staleness reports so far.
    report_number: u64,
    /// Its text, written by the first subscriber that sends it.
    pub text: OnceLock<String>,
}

impl FeedBatch {
    /// The state before any addition.
    pub(super) fn first(known_at: Instant) -> Self {
        let (from, to, entries, age, report_number) = (0, 0, Vec::new(), None, 0);
        Self { from, to, entries, age, known_at, report_number, text: OnceLock::new() }
    }
}

impl Revocations {
    const fn cursor(&self, number: u64) -> FeedCursor {
        FeedCursor { boot: self.boot, number }
    }
}
