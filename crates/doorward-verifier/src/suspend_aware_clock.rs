//! Timestamps that are read from two clocks, to detect suspension and changes of the clock.

use std::time::Duration;

use doorward_tokens::clock::{Clock, Timestamp};

/// How much more time one clock may have counted than the other. A clock that is slewed (by 0.05 %
/// at most) stays below it for hours; the times that are compared are seconds apart.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A time, read from two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    steady: Timestamp,
    wall: Timestamp,
}

impl Stamp {
    /// The current time.
    pub(super) fn now(clock: &Clock) -> Self {
        Self { steady: clock.steady(), wall: clock.now() }
    }

    /// The time `by` earlier.
    pub(super) fn minus(self, by: Duration) -> Self {
        Self { steady: self.steady.minus(by), wall: self.wall.minus(by) }
    }

    /// The elapsed time: the longer of the two clocks' measurements. The steady clock does not jump
    /// when the time is set, but on Linux it stops while the machine is suspended; the wall clock
    /// does not.
    pub(super) fn elapsed(self, clock: &Clock) -> Duration {
        clock.steady().since(self.steady).max(clock.now().since(self.wall))
    }

    /// Whether between the two the time was set by more than [`TOLERANCE`], or the machine was
    /// suspended.
    pub(super) fn disagrees(self, other: Self) -> bool {
        let moved = other.wall_ahead().abs_diff(self.wall_ahead());
        Duration::from_micros(moved) > TOLERANCE
    }

    /// Whether `wall` has passed on the wall clock and `steady` on the steady clock.
    pub(super) fn is_past(self, wall: Timestamp, steady: Timestamp) -> bool {
        wall <= self.wall && steady <= self.steady
    }

    /// The steady clock's time at `wall`, clamped between `at_least` and `at_most` from this one.
    pub(super) fn steady_at(
        self,
        wall: Timestamp,
        at_least: Duration,
        at_most: Duration,
    ) -> Timestamp {
        self.steady.plus(wall.since(self.wall).clamp(at_least, at_most))
    }

    /// How far the wall clock is ahead of the steady clock, in microseconds.
    const fn wall_ahead(self) -> i64 {
        self.wall.as_micros().saturating_sub(self.steady.as_micros())
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
    fn elapsed_is_the_longer_measurement_of_both_clocks() {
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_000));
        let moment = Stamp::now(&clock);
        assert_eq!(moment.elapsed(&clock), Duration::ZERO);
        clock.advance(Duration::from_secs(7));
        assert_eq!(moment.elapsed(&clock), Duration::from_secs(7));
        assert_eq!(moment.minus(Duration::from_secs(1)).elapsed(&clock), Duration::from_secs(8));
        // Suspended for an hour: the steady clock has missed it.
        let asleep = Stamp { wall: moment.wall.minus(Duration::from_secs(3600)), ..moment };
        assert_eq!(asleep.elapsed(&clock), Duration::from_secs(3607));
        let now = Stamp::now(&clock);
        assert!(asleep.disagrees(now) && !moment.disagrees(now));
        // Set back by an hour: the steady clock is not affected.
        let ahead = Stamp { wall: moment.wall.plus(Duration::from_secs(3600)), ..moment };
        assert_eq!(ahead.elapsed(&clock), Duration::from_secs(7));
        assert!(ahead.disagrees(now));
        assert_eq!(moment.minus(Duration::from_secs(1)).max(moment).steady, moment.steady);
    }

    #[test]
    fn a_clock_that_is_set_by_more_than_the_tolerance_disagrees() {
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_000));
        for (first, then, has_jumped) in [(0, 5, false), (0, 6, true), (6, 1, false), (6, 0, true)]
        {
            clock.set_ahead(Duration::from_secs(first));
            let moment = Stamp::now(&clock);
            clock.set_ahead(Duration::from_secs(then));
            assert_eq!(moment.disagrees(Stamp::now(&clock)), has_jumped, "{first} to {then}");
            clock.advance(Duration::from_secs(3));
            assert_eq!(
                moment.disagrees(Stamp::now(&clock)),
                has_jumped,
                "later, {first} to {then}"
            );
        }
    }
}
