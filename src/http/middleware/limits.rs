//! Rate limits: by client address before the work, by session after its token was verified.
//!
//! Memory is bounded by construction. A limiter knows a fixed number of buckets, and a client or a
//! session falls into one of them by a keyed hash that clients cannot compute. When a flood from
//! ever new addresses fills the buckets, honest clients share them with the flood in proportion to
//! its size, instead of all being rejected at some limit of the table. [`KeyedLimiter::sweep`]
//! frees the memory of unused buckets.

mod by_address;
mod of_failures;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use actix_governor::governor::clock::{Clock as _, DefaultClock, QuantaInstant};
use actix_governor::governor::{DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

pub use by_address::{AddressLimiter, ByNetwork};
pub use of_failures::FailureLimiter;

use crate::http::problem::{Code, Problem};
use crate::metrics::Counter;

/// A rate limit: a burst, and the time after which each further request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The maximum number of simultaneous requests.
    pub burst: NonZeroU32,
    /// The time until one more request is allowed; not zero.
    pub every: Duration,
}

/// A rate limit for each key: a session, a client network.
#[derive(Clone)]
pub struct KeyedLimiter {
    limiter: Arc<DefaultKeyedRateLimiter<usize>>,
    buckets: Buckets,
    refusals: Counter,
}

impl KeyedLimiter {
    /// A limiter with `buckets` buckets.
    ///
    /// # Panics
    /// Never: the period is not zero.
    #[must_use]
    pub fn new(rate: Rate, buckets: NonZeroUsize) -> Self {
        #[expect(clippy::expect_used, reason = "the period is not zero")]
        let quota = Quota::with_period(rate.every.max(Duration::from_nanos(1)))
            .expect("a period")
            .allow_burst(rate.burst);
        let limiter = Arc::new(RateLimiter::keyed(quota));
        Self { limiter, buckets: Buckets::new(buckets), refusals: Counter::default() }
    }

    /// Counts one request of a key.
    ///
    /// # Errors
    /// `rate_limited` when there were too many.
    pub fn check(&self, key: impl Hash) -> Result<(), Problem> {
        let bucket = self.buckets.bucket_index(key);
        self.limiter.check_key(&bucket).map_err(|negative| {
            self.refusals.inc();
            too_many(&negative)
        })
    }

    /// The number of rejected requests.
    #[must_use]
    pub const fn refusals(&self) -> &Counter {
        &self.refusals
    }

    /// The number of buckets in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.limiter.len()
    }

    /// Frees the memory of keys with a full burst; to be called periodically.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

fn too_many(negative: &NotUntil<QuantaInstant>) -> Problem {
    let wait = negative.wait_time_from(DefaultClock::default().now());
    Problem::new(Code::RateLimited).retry_after(wait)
}

#[derive(Clone)]
struct Buckets {
    count: NonZeroUsize,
    hash: RandomState,
}

impl Buckets {
    fn new(count: NonZeroUsize) -> Self {
        Self { count, hash: RandomState::new() }
    }

    fn bucket_index(&self, key: impl Hash) -> usize {
        // The remainder is below `count`, so it always fits.
        usize::try_from(self.hash.hash_one(key) % self.count.get() as u64).unwrap_or(0)
    }
}
