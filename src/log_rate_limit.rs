//! Log lines that anybody outside can cause, or that repeat while something is broken, at a bounded
//! rate.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::locks;

/// Lines about requests that may be written within one [`PERIOD`].
const LINES_PER_PERIOD: u32 = 10;

/// What they are counted over.
const PERIOD: Duration = Duration::from_secs(1);

/// Lets a number of lines a period pass, ten a second by default, and counts the others.
#[derive(Debug)]
pub struct LogRateLimit {
    lines: u32,
    period: Duration,
    state: Mutex<State>,
}

impl Default for LogRateLimit {
    fn default() -> Self {
        Self::new(LINES_PER_PERIOD, PERIOD)
    }
}

#[derive(Debug)]
struct State {
    began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LogRateLimit {
    /// Lets so many lines pass within each `period`.
    #[must_use]
    pub const fn new(lines: u32, period: Duration) -> Self {
        let state = State { began: None, written: 0, left_out: 0 };
        Self { lines, period, state: Mutex::new(state) }
    }

    /// Whether a line may be written now; if so, how many were left out since the one before.
    pub fn allow_line(&self, now: Instant) -> Option<u64> {
        let mut state = locks::lock(&self.state);
        if state.began.is_none_or(|began| now.duration_since(began) >= self.period) {
            (state.began, state.written) = (Some(now), 0);
        }
        if state.written >= self.lines {
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
