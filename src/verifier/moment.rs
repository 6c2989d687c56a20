//! When something happened, for the question how long ago that was.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// A moment, read off two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    steady: Timestamp,
    wall: Timestamp,
}

impl Moment {
    /// The present one.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { steady: clock.steady(), wall: clock.now() }
    }

    /// The moment `by` earlier.
    pub(super) fn minus(self, by: Duration) -> Self {
        Self { steady: self.steady.minus(by), wall: self.wall.minus(by) }
    }

    /// How long ago it was: the longer of two opinions. The steady clock does not jump when somebody
    /// sets the time, but on Linux it stands still while the machine sleeps; the other one goes on.
    pub(super) fn elapsed(self, clock: &Clock) -> Duration {
        clock.steady().since(self.steady).max(clock.now().since(self.wall))
    }

    /// The later of the two.
    pub(super) fn max(self, other: Self) -> Self {
        if other.steady > self.steady { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_by_whichever_clock_ran_further() {
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_000));
        let moment = Moment::now(&clock);
        assert_eq!(moment.elapsed(&clock), Duration::ZERO);
        clock.advance(Duration::from_secs(7));
        assert_eq!(moment.elapsed(&clock), Duration::from_secs(7));
        assert_eq!(moment.minus(Duration::from_secs(1)).elapsed(&clock), Duration::from_secs(8));
        // Asleep for an hour: the steady clock has missed it.
        let asleep = Moment { wall: moment.wall.minus(Duration::from_secs(3600)), ..moment };
        assert_eq!(asleep.elapsed(&clock), Duration::from_secs(3607));
        // Set back by an hour: the steady clock has not noticed.
        let ahead = Moment { wall: moment.wall.plus(Duration::from_secs(3600)), ..moment };
        assert_eq!(ahead.elapsed(&clock), Duration::from_secs(7));
        assert_eq!(moment.minus(Duration::from_secs(1)).max(moment).steady, moment.steady);
    }
}
