//! Rate-limited log lines, for events that outsiders can cause or that repeat during a failure.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::locks;

/// The maximum number of lines about requests within one [`PERIOD`].
const LINES_PER_PERIOD: u32 = 10;

/// The period in which lines are counted.
const PERIOD: Duration = Duration::from_secs(1);

/// Allows a number of lines per period, ten per second by default, and counts the others.
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
    /// Allows this number of lines within each `period`.
    #[must_use]
    pub const fn new(lines: u32, period: Duration) -> Self {
        let state = State { began: None, written: 0, left_out: 0 };
        Self { lines, period, state: Mutex::new(state) }
    }

    /// Whether a line may be written now; if so, how many were omitted since the last one.
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
