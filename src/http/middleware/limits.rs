//! Rate limits: by client address before the work, by session after its token was verified.
//!
//! Memory is bounded by construction. A limiter knows a fixed number of buckets, and a client or a
//! session falls into one of them by a hash that nobody outside can compute. When a flood from ever
//! new addresses fills the buckets, honest clients share them with the flood in proportion to its
//! size, instead of all being shut out at some limit of the table. [`KeyedLimiter::sweep`] gives
//! back what is not in use.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_governor::governor::clock::{Clock as _, DefaultClock, QuantaInstant, Reference as _};
use actix_governor::governor::middleware::NoOpMiddleware;
use actix_governor::governor::{DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use actix_governor::{Governor, GovernorConfig, GovernorConfigBuilder, KeyExtractor};
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpResponse, HttpResponseBuilder, web};

use crate::http::HttpSettings;
use crate::http::problem::{Code, Problem};
use crate::http::request::client_ip::ClientAddress;
use crate::locks;
use crate::metrics::Counter;

/// A rate limit: a burst, and the time after which each further request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The maximum number of requests at once.
    pub burst: NonZeroU32,
    /// The time until one more request is allowed; not zero.
    pub every: Duration,
}

/// Limits how often each key comes: a session, a client network.
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
        let bucket = self.buckets.place(key);
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

    /// Gives back the memory of the keys that have their whole burst again; to be called now and
    /// then.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Limits the POST requests of each client network to a resource.
#[derive(Clone)]
pub struct AddressLimiter {
    config: GovernorConfig<ByNetwork, NoOpMiddleware>,
    limiter: KeyedLimiter,
}

impl AddressLimiter {
    /// A limiter with `buckets` buckets.
    ///
    /// # Panics
    /// Never: neither the burst nor the period is zero.
    #[must_use]
    pub fn new(rate: Rate, buckets: NonZeroUsize, settings: web::Data<HttpSettings>) -> Self {
        let (buckets, refusals) = (Buckets::new(buckets), Counter::default());
        let by_network =
            ByNetwork { buckets: buckets.clone(), settings, refusals: refusals.clone() };
        #[expect(clippy::expect_used, reason = "neither the burst nor the period is zero")]
        let config = GovernorConfigBuilder::default()
            .period(rate.every.max(Duration::from_nanos(1)))
            .burst_size(rate.burst.get())
            .methods(vec![Method::POST])
            .key_extractor(by_network)
            .finish()
            .expect("a limiter of something");
        Self { limiter: KeyedLimiter { limiter: config.limiter(), buckets, refusals }, config }
    }

    /// The middleware for a resource; all from one limiter count together.
    #[must_use]
    pub fn middleware(&self) -> Governor<ByNetwork, NoOpMiddleware> {
        Governor::new(&self.config)
    }

    /// The limiter behind the middleware.
    #[must_use]
    pub const fn limiter(&self) -> &KeyedLimiter {
        &self.limiter
    }
}

/// The maximum number of credentials remembered as right; there is one for each service.
const PROVEN: usize = 10_000;

/// Limits the failures of each client network, and nothing else.
#[derive(Clone)]
pub struct FailureLimiter {
    limiter: KeyedLimiter,
    known: Arc<Mutex<ProvenCredentials>>,
}

/// State that is checked before the database is asked.
#[derive(Default)]
struct ProvenCredentials {
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
        let place = self.limiter.buckets.place(address.network());
        let digest = self.limiter.buckets.hash.hash_one(credentials);
        let now = DefaultClock::default().now();
        let known = self.known();
        let until = known.spent.get(&place).filter(|until| **until > now);
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
        let place = self.limiter.buckets.place(address.network());
        self.limiter.limiter.check_key(&place).map_err(|negative| {
            self.limiter.refusals.inc();
            self.known().spent.insert(place, negative.earliest_possible());
            too_many(&negative)
        })
    }

    fn known(&self) -> MutexGuard<'_, ProvenCredentials> {
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

    fn place(&self, key: impl Hash) -> usize {
        // The remainder is below `count`, so it always fits.
        usize::try_from(self.hash.hash_one(key) % self.count.get() as u64).unwrap_or(0)
    }
}

/// Finds the bucket of a request's client network.
#[derive(Clone)]
pub struct ByNetwork {
    buckets: Buckets,
    settings: web::Data<HttpSettings>,
    refusals: Counter,
}

impl KeyExtractor for ByNetwork {
    type Key = usize;
    type KeyExtractionError = Problem;

    fn extract(&self, request: &ServiceRequest) -> Result<usize, Problem> {
        let address = ClientAddress::of(request.request(), &self.settings.trusted_proxies);
        Ok(self.buckets.place(address.network()))
    }

    fn exceed_rate_limit_response(
        &self,
        negative: &NotUntil<QuantaInstant>,
        _: HttpResponseBuilder,
    ) -> HttpResponse {
        self.refusals.inc();
        HttpResponse::from_error(too_many(negative))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_rate_limited_session_gets_a_retry_after() {
        let rate = Rate { burst: NonZeroU32::new(2).unwrap(), every: Duration::from_secs(60) };
        let limiter = KeyedLimiter::new(rate, NonZeroUsize::new(1 << 16).unwrap());
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(limiter.check(one).is_ok());
        assert!(limiter.check(one).is_ok());
        assert_eq!(limiter.check(one).unwrap_err().code(), Code::RateLimited);
        assert!(limiter.check(other).is_ok());
    }

    #[test]
    fn a_flood_of_sessions_fills_no_more_than_the_buckets_and_a_sweep_empties_them() {
        let rate = Rate { burst: NonZeroU32::MIN, every: Duration::from_millis(1) };
        let limiter = KeyedLimiter::new(rate, NonZeroUsize::new(64).unwrap());
        for n in 0..10_000 {
            let _ = limiter.check(Uuid::from_u128(n));
        }
        assert!(limiter.in_use() <= 64);
        std::thread::sleep(Duration::from_millis(20));
        limiter.sweep();
        assert_eq!(limiter.in_use(), 0);
    }
}
