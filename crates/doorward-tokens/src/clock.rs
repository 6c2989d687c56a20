//! The only source of time.
//!
//! All code that needs the time is passed a [`Clock`], so that a test can control it. A point in
//! time is a [`Timestamp`]: whole microseconds since 1970, the same in memory, in both databases
//! and, as RFC 3339, in JSON.

#[cfg(feature = "diesel")]
mod column;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

/// The source of time: the system or, in a test, a manual clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// The system's, corrected by this many microseconds.
    Corrected(i64),
    Manual(Arc<ManualTime>),
}

/// The time of a manual clock, in microseconds.
#[derive(Debug)]
struct ManualTime {
    steady: AtomicI64,
    /// How far the wall clock is ahead of it.
    ahead: AtomicI64,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that starts at `now` and runs as the system's does: for a process that takes its
    /// time from another one.
    #[must_use]
    pub fn system_from(now: Timestamp) -> Self {
        Self(Source::Corrected(now.0.saturating_sub(system_now().timestamp_micros())))
    }

    /// A clock that stays at `start` until [`Clock::advance`] is called. Its clones share the time.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        let manual = ManualTime { steady: AtomicI64::new(start.0), ahead: AtomicI64::new(0) };
        Self(Source::Manual(Arc::new(manual)))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp(system_now().timestamp_micros()),
            Source::Corrected(by) => Timestamp(system_now().timestamp_micros().saturating_add(*by)),
            Source::Manual(manual) => {
                let ahead = manual.ahead.load(Ordering::SeqCst);
                Timestamp(manual.steady.load(Ordering::SeqCst).saturating_add(ahead))
            }
        }
    }

    /// Moves a manual clock forward; has no effect on the system's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.steady.fetch_add(micros(by), Ordering::SeqCst);
        }
    }

    /// Sets the time of a manual clock as an administrator or NTP sets a machine's: from now on
    /// [`Clock::now`] is `ahead` of [`Clock::steady`], which is not affected.
    pub fn set_ahead(&self, ahead: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.ahead.store(micros(ahead), Ordering::SeqCst);
        }
    }

    /// A time that is never set: for durations that must not jump with the system's clock, such as
    /// how fast a limit refills. Only the difference between two of these is meaningful.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn steady(&self) -> Timestamp {
        static START: OnceLock<Instant> = OnceLock::new();
        match &self.0 {
            Source::System | Source::Corrected(_) => {
                let start = *START.get_or_init(Instant::now);
                Timestamp(0).plus(Instant::now().saturating_duration_since(start))
            }
            Source::Manual(manual) => Timestamp(manual.steady.load(Ordering::SeqCst)),
        }
    }

    /// A reading that never decreases, to measure elapsed time. A manual clock does not affect it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_now() -> DateTime<Utc> {
    Utc::now()
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `micros` microseconds after 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time `seconds` after 1970: JWT's `NumericDate` (RFC 7519 2).
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Parses a time in RFC 3339 or a date, which means midnight in UTC; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let midnight = format!("{text}T00:00:00Z");
        let whole = if text.contains(['T', 't']) { text } else { &midnight };
        let moment = DateTime::parse_from_rfc3339(whole).ok()?;
        Some(Self(moment.timestamp_micros()))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time `by` later, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// The time `by` earlier, saturating.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }

    /// Rounds down to a multiple of `unit` after 1970.
    #[must_use]
    pub fn floor(self, unit: Duration) -> Self {
        let past = self.0.rem_euclid(micros(unit).max(1));
        Self(self.0.saturating_sub(past))
    }

    /// Rounds up to a multiple of `unit` after 1970.
    #[must_use]
    pub fn ceil(self, unit: Duration) -> Self {
        let floor = self.floor(unit);
        if floor == self { self } else { floor.plus(unit) }
    }

    /// The time since `earlier`; zero when that is later than this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        f.write_str(&moment.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rounded_down_and_up_to_a_multiple() {
        let minute = Duration::from_secs(60);
        for (moment, floor, ceil) in [
            (0, 0, 0),
            (1, 0, 60_000_000),
            (60_000_000, 60_000_000, 60_000_000),
            (119_999_999, 60_000_000, 120_000_000),
            (-1, -60_000_000, 0),
        ] {
            let moment = Timestamp::from_micros(moment);
            assert_eq!((moment.floor(minute).0, moment.ceil(minute).0), (floor, ceil), "{moment}");
        }
    }
}
