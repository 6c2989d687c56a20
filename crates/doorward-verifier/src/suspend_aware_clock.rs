//! When something happened, for the question how long ago that was.

use std::time::Duration;

use doorward_tokens::clock::{Clock, Timestamp};

/// How much further one clock may have gone than the other. A clock that is corrected gradually
/// (by 0.05 % at most) stays below it for hours; the moments that are compared are seconds apart.
const TOLERANCE: Duration = Duration::from_secs(5);

/// A moment, read off two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    steady: Timestamp,
    wall: Timestamp,
}

impl Stamp {
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

    /// Whether the time was set between the two, by more than [`TOLERANCE`], or the machine asleep.
    pub(super) fn disagrees(self, other: Self) -> bool {
        let moved = other.wall_ahead().abs_diff(self.wall_ahead());
        Duration::from_micros(moved) > TOLERANCE
    }

    /// Whether that moment by the time of day and that one by the steady clock are over.
    pub(super) fn is_past(self, wall: Timestamp, steady: Timestamp) -> bool {
        wall <= self.wall && steady <= self.steady
    }

    /// When `wall` comes by the steady clock, but between `at_least` and `at_most` from this moment.
    pub(super) fn steady_at(
        self,
        wall: Timestamp,
        at_least: Duration,
        at_most: Duration,
    ) -> Timestamp {
        self.steady.plus(wall.since(self.wall).clamp(at_least, at_most))
    }

    /// How far the time of day is ahead of the steady clock, in microseconds.
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
    fn time_passes_by_whichever_clock_ran_further() {
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_000));
        let moment = Stamp::now(&clock);
        assert_eq!(moment.elapsed(&clock), Duration::ZERO);
        clock.advance(Duration::from_secs(7));
        assert_eq!(moment.elapsed(&clock), Duration::from_secs(7));
        assert_eq!(moment.minus(Duration::from_secs(1)).elapsed(&clock), Duration::from_secs(8));
        // Asleep for an hour: the steady clock has missed it.
        let asleep = Stamp { wall: moment.wall.minus(Duration::from_secs(3600)), ..moment };
        assert_eq!(asleep.elapsed(&clock), Duration::from_secs(3607));
        let now = Stamp::now(&clock);
        assert!(asleep.disagrees(now) && !moment.disagrees(now));
        // Set back by an hour: the steady clock has not noticed.
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
