//! Limits of failed authentications by client network.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use actix_governor::governor::clock::{Clock as _, DefaultClock, QuantaInstant, Reference as _};

use super::{KeyedLimiter, Rate, too_many};
use crate::http::problem::{Code, Problem};
use crate::http::request::client_ip::ClientAddress;
use crate::locks;

/// The maximum number of credentials remembered as right; there is one for each service.
const PROVEN: usize = 10_000;

/// Limits the failures of each client network, and nothing else.
#[derive(Clone)]
pub struct FailureLimiter {
    limiter: KeyedLimiter,
    known: Arc<Mutex<FailureState>>,
}

/// State that is checked before the database is queried.
#[derive(Default)]
struct FailureState {
    /// The buckets with too many failures, and when each may have one more.
    spent: HashMap<usize, QuantaInstant>,
    /// Digests of credentials that were right.
    proven: HashSet<u64>,
}

impl FailureLimiter {
    /// A limiter with `buckets` buckets.
    #[must_use]
    pub fn new(rate: Rate, buckets: NonZeroUsize) -> Self {
        Self { limiter: KeyedLimiter::new(rate, buckets), known: Arc::default() }
    }

    /// Checks whether these credentials may be compared now. While the network has too many
    /// failures, only credentials that were right before may be compared, so an attacker behind the
    /// same address does not block a running service.
    ///
    /// # Errors
    /// `rate_limited`, with the time until one more failure is allowed.
    pub fn check(&self, address: ClientAddress, credentials: impl Hash) -> Result<(), Problem> {
        let bucket_index = self.limiter.buckets.bucket_index(address.network());
        let digest = self.limiter.buckets.hash.hash_one(credentials);
        let now = DefaultClock::default().now();
        let known = self.known();
        let until = known.spent.get(&bucket_index).filter(|until| **until > now);
        let Some(until) = until.filter(|_| !known.proven.contains(&digest)) else {
            return Ok(());
        };
        self.limiter.refusals.inc();
        Err(Problem::new(Code::RateLimited).retry_after(until.duration_since(now).into()))
    }

    /// Records that these credentials were right.
    pub fn proven(&self, credentials: impl Hash) {
        let digest = self.limiter.buckets.hash.hash_one(credentials);
        let mut known = self.known();
        if known.proven.len() >= PROVEN {
            known.proven.clear();
        }
        known.proven.insert(digest);
    }

    /// Counts a failure that has happened.
    ///
    /// # Errors
    /// `rate_limited` when there were too many.
    pub fn count(&self, address: ClientAddress) -> Result<(), Problem> {
        let bucket_index = self.limiter.buckets.bucket_index(address.network());
        self.limiter.limiter.check_key(&bucket_index).map_err(|negative| {
            self.limiter.refusals.inc();
            self.known().spent.insert(bucket_index, negative.earliest_possible());
            too_many(&negative)
        })
    }

    fn known(&self) -> MutexGuard<'_, FailureState> {
        locks::lock(&self.known)
    }

    /// The limiter of the failures.
    #[must_use]
    pub const fn limiter(&self) -> &KeyedLimiter {
        &self.limiter
    }

    /// Frees the memory of networks with a full burst; to be called periodically.
    pub fn sweep(&self) {
        self.limiter.sweep();
        let now = DefaultClock::default().now();
        let mut known = self.known();
        known.spent.retain(|_, until| *until > now);
        known.spent.shrink_to_fit();
    }
}
