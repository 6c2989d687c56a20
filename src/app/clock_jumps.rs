//! Detects jumps of the wall clock, so that a purge deletes nothing by a wrong time.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// How far the wall clock may drift from the steady clock and still be trusted. Less than the
/// margin that revocations are kept beyond the last token that they concern.
pub(super) const MAX_CLOCK_JUMP: Duration = Duration::from_secs(30);

/// Compares the wall clock with the steady clock, and knows since when they have agreed.
pub(super) struct JumpDetector {
    clock: Clock,
    wall: Timestamp,
    steady: Timestamp,
}

impl JumpDetector {
    pub(super) fn new(clock: Clock) -> Self {
        Self { wall: clock.now(), steady: clock.steady(), clock }
    }

    /// The current time, if the clock has not jumped for longer than `after`. All deletions until
    /// the next call use it: the clock may be set at any time.
    pub(super) fn now_if_steady(&mut self, after: Duration) -> Option<Timestamp> {
        let (wall, steady) = (self.clock.now(), self.clock.steady());
        // Compared with the first reading, so that many small steps count as one jump.
        let wall_passed = wall.as_micros().saturating_sub(self.wall.as_micros());
        let steady_passed = steady.as_micros().saturating_sub(self.steady.as_micros());
        if Duration::from_micros(wall_passed.abs_diff(steady_passed)) > MAX_CLOCK_JUMP {
            tracing::warn!(
                wall_clock_s = wall_passed / 1_000_000,
                steady_clock_s = steady_passed / 1_000_000,
                "the clock was set; purging is paused"
            );
            (self.wall, self.steady) = (wall, steady);
        }
        (steady.since(self.steady) > after).then_some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(630);

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_unix_seconds(1_000))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_steady_clock_is_trusted_after_a_while() {
        let clock = clock();
        let mut detector = JumpDetector::new(clock.clone());
        clock.advance(AFTER);
        assert_eq!(detector.now_if_steady(AFTER), None);
        clock.advance(seconds(1));
        assert_eq!(detector.now_if_steady(AFTER), Some(clock.now()));
        clock.set_ahead(MAX_CLOCK_JUMP);
        assert_eq!(detector.now_if_steady(AFTER), Some(clock.now()));
    }

    #[test]
    fn a_clock_that_was_set_is_not_trusted_even_if_set_back() {
        for (first, then) in [(0, 3600), (3600, 0)] {
            let clock = clock();
            clock.set_ahead(seconds(first));
            let mut detector = JumpDetector::new(clock.clone());
            clock.advance(2 * AFTER);
            assert!(detector.now_if_steady(AFTER).is_some());
            clock.set_ahead(seconds(then));
            assert_eq!(detector.now_if_steady(AFTER), None, "{first} to {then}");
            clock.advance(AFTER);
            assert_eq!(detector.now_if_steady(AFTER), None);
            clock.set_ahead(seconds(first));
            assert_eq!(detector.now_if_steady(AFTER), None);
            clock.advance(AFTER + seconds(1));
            assert_eq!(detector.now_if_steady(AFTER), Some(clock.now()));
        }
    }

    #[test]
    fn many_small_steps_are_one_jump() {
        let clock = clock();
        let mut detector = JumpDetector::new(clock.clone());
        clock.advance(2 * AFTER);
        for ahead in [20, 30] {
            clock.set_ahead(seconds(ahead));
            assert!(detector.now_if_steady(AFTER).is_some());
        }
        clock.set_ahead(seconds(40));
        assert_eq!(detector.now_if_steady(AFTER), None);
    }
}
