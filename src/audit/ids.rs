//! The ids of events, which sort by time and, within a process, by the order of creation.

use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Builder;

use crate::clock::Timestamp;
use crate::database::Id;
use crate::secret::random_bytes;

/// An id that sorts after all earlier ones of this process, also within a unit of work.
pub(super) fn next_id(now: Timestamp) -> Id {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    ordered_id(now, COUNT.fetch_add(1, Ordering::Relaxed), random_bytes())
}

/// The lowest id with this time.
pub(super) fn first_id(moment: Timestamp) -> Id {
    ordered_id(moment, 0, [0; 4])
}

/// A `UUIDv7` whose bits after the milliseconds are microseconds, then a count (RFC 9562 6.2,
/// methods 3 and 1).
pub(super) fn ordered_id(now: Timestamp, count: u32, random: [u8; 4]) -> Id {
    let micros = now.as_micros().max(0).cast_unsigned();
    // Ten bits of microseconds and two of the count precede the variant, thirty follow it.
    let [.., high, low] = ((micros % 1000) << 2 | u64::from(count >> 30)).to_be_bytes();
    let mut rest = [high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    rest[2..6].copy_from_slice(&(count & (u32::MAX >> 2)).to_be_bytes());
    rest[6..].copy_from_slice(&random);
    Builder::from_unix_timestamp_millis(micros / 1000, &rest).into_uuid().into()
}
