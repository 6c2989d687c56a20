//! Login throttling: the number of attempts that a source and an account get.

mod known_sources;
mod table;
mod waits;

use super::*;
use crate::secret::{MasterSecret, Purpose};

fn throttle(max_counters: usize) -> (LoginThrottle, Clock) {
    let clock = Clock::manual(Timestamp::from_unix_seconds(1_000_000));
    let key = MasterSecret::generate().derive(Purpose::LoginThrottle);
    let window = Duration::from_secs(600);
    let settings = ThrottleSettings { per_source: 10, per_account: 30, window, max_counters };
    (LoginThrottle::new(key, settings, clock.clone()), clock)
}

fn address(n: u32) -> ThrottleKey {
    ThrottleKey::Network(format!("192.0.2.{n}"))
}

fn device(n: u128) -> ThrottleKey {
    ThrottleKey::Device(Uuid::from_u128(n), DeviceToken::Newest)
}

fn is_granted(taken: &ReserveOutcome) -> bool {
    matches!(taken, ReserveOutcome::Granted(_))
}

#[test]
fn a_hundred_parallel_guesses_get_only_the_available_reservations() {
    let (throttle, _) = throttle(1000);
    let granted = std::thread::scope(|scope| {
        let guess = || is_granted(&throttle.reserve("ada", &address(1)));
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(guess)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).filter(|g| *g).count()
    });
    assert_eq!(granted, 10);
}

#[test]
fn attempts_in_progress_do_not_count_as_failures() {
    let (throttle, _) = throttle(1000);
    let under_way: Vec<ReserveOutcome> =
        (0..10).map(|_| throttle.reserve("ada", &address(1))).collect();
    assert!(under_way.iter().all(is_granted));
    assert!(matches!(
        throttle.reserve("ada", &address(1)),
        ReserveOutcome::Busy { account: false }
    ));
    drop(under_way);
    assert!(matches!(
        throttle.reserve("ada", &address(1)),
        ReserveOutcome::Throttled { account: false, .. }
    ));
}

#[test]
fn a_released_reservation_is_free_again_and_a_dropped_one_is_not() {
    let (throttle, _) = throttle(1000);
    for _ in 0..100 {
        let ReserveOutcome::Granted(reservation) = throttle.reserve("ada", &address(1)) else {
            panic!("not granted")
        };
        reservation.release();
    }
    for _ in 0..10 {
        assert!(is_granted(&throttle.reserve("ada", &address(1))));
    }
    assert!(!is_granted(&throttle.reserve("ada", &address(1))));
}

#[test]
fn a_refused_attempt_costs_nothing() {
    let (throttle, clock) = throttle(1000);
    for _ in 0..100 {
        let _ = throttle.reserve("ada", &address(1));
    }
    for n in 2..4 {
        let granted =
            (0..100).filter(|_| is_granted(&throttle.reserve("ada", &address(n)))).count();
        assert_eq!(granted, 10);
    }
    assert!(matches!(
        throttle.reserve("ada", &address(4)),
        ReserveOutcome::Throttled { account: true, .. }
    ));
    clock.advance(Duration::from_secs(600));
    assert!(is_granted(&throttle.reserve("ada", &address(4))));
}

#[test]
fn every_allowed_limit_grants_exactly_its_number_of_attempts() {
    for per_source in 1..=100 {
        for window in [60, 600, 86_400].map(Duration::from_secs) {
            let settings =
                ThrottleSettings { per_source, per_account: 1000, window, max_counters: 1000 };
            let throttle = LoginThrottle { settings, ..throttle(1000).0 };
            let granted =
                (0..200).filter(|_| is_granted(&throttle.reserve("ada", &address(1)))).count();
            assert_eq!(granted, per_source as usize, "{window:?}");
        }
    }
}
