//! The entries, and whether some may be missing because the clock was set.

use std::collections::HashMap;
use std::time::Duration;

use doorward_tokens::clock::Timestamp;

use super::ApplyError;
use crate::suspend_aware_clock::Stamp;

/// The minimum time by the steady clock that an id is kept if it arrives after the clock was set:
/// either of the two times may be the right one.
const MIN_KEPT_AFTER_JUMP: Duration = Duration::from_secs(3600);

/// The maximum time by the steady clock that an id is kept once it has expired by the wall clock: a
/// clock that is years behind at the start must not fill the list for years.
const MAX_KEPT_BY_STEADY_CLOCK: Duration = Duration::from_secs(24 * 3600);

pub(super) struct List {
    pub(super) until: HashMap<Box<str>, Until>,
    pub(super) complete: Option<Stamp>,
    /// An entry did not fit since the list was last complete.
    pub(super) has_overflowed: bool,
    /// When both clocks last agreed.
    pub(super) clocks_agreed_at: Stamp,
    pub(super) doubt: MissingIds,
    /// The clock was set since the start.
    pub(super) has_jumped: bool,
}

/// Until when an id is kept: until it has expired by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Until {
    wall: Timestamp,
    steady: Timestamp,
}

impl Until {
    pub(super) fn has_expired(self, now: Stamp) -> bool {
        now.is_past(self.wall, self.steady)
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self { wall: self.wall.max(other.wall), steady: self.steady.max(other.steady) }
    }
}

/// Whether the list may lack ids because the clock was set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingIds {
    None,
    /// It may; the open stream may have resumed in the middle of the list.
    Possible,
    /// It may; the open stream sends the whole list.
    Requested,
}

impl List {
    pub(super) fn may_lack_ids(&self, now: Stamp) -> bool {
        self.doubt != MissingIds::None || self.clocks_agreed_at.disagrees(now)
    }

    /// Detects whether the clock was set. It is called before anything is dropped, skipped or
    /// reported complete.
    pub(super) fn check(&mut self, now: Stamp) -> Result<(), ApplyError> {
        if self.clocks_agreed_at.disagrees(now) {
            self.doubt = MissingIds::Possible;
            self.has_jumped = true;
        }
        if self.doubt == MissingIds::Possible { Err(ApplyError::ClockJumped) } else { Ok(()) }
    }

    /// Until when an id is kept that arrives now.
    pub(super) fn keep_until(&self, wall: Timestamp, now: Stamp) -> Until {
        let at_least = if self.has_jumped { MIN_KEPT_AFTER_JUMP } else { Duration::ZERO };
        Until { wall, steady: now.steady_at(wall, at_least, MAX_KEPT_BY_STEADY_CLOCK) }
    }
}
