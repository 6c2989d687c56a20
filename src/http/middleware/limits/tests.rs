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
