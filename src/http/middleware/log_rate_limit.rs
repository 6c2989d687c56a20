//! Log lines that anybody outside can cause, at a bounded rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that may be written within one [`PERIOD`].
const LINES_PER_PERIOD: u32 = 10;

/// What the lines are counted over.
const PERIOD: Duration = Duration::from_secs(1);

/// Lets ten lines a second pass, and counts the others.
#[derive(Debug, Default)]
pub struct LogRateLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LogRateLimit {
    /// Whether a line may be written now; if so, how many were left out since the one before.
    pub fn allow_line(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            (state.began, state.written) = (Some(now), 0);
        }
        if state.written >= LINES_PER_PERIOD {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn ten_lines_a_second_pass_and_the_others_are_counted() {
        let (seldom, start) = (LogRateLimit::default(), Clock::system().monotonic());
        let passed = (0..1000).filter(|_| seldom.allow_line(start).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(seldom.allow_line(start + Duration::from_millis(999)), None);
        assert_eq!(seldom.allow_line(start + PERIOD), Some(991));
        assert_eq!(seldom.allow_line(start + PERIOD), Some(0));
    }
}
