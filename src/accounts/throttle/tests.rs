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
        let ReserveOutcome::Granted(place) = throttle.reserve("ada", &address(1)) else {
            panic!("spent")
        };
        place.release();
    }
    for _ in 0..10 {
        assert!(is_granted(&throttle.reserve("ada", &address(1))));
    }
    assert!(!is_granted(&throttle.reserve("ada", &address(1))));
}

#[test]
fn a_counter_refills_evenly_and_reports_the_wait() {
    let (throttle, clock) = throttle(1000);
    for _ in 0..10 {
        assert!(is_granted(&throttle.reserve("ada", &address(1))));
    }
    let ReserveOutcome::Throttled { retry_after, account: false } =
        throttle.reserve("ada", &address(1))
    else {
        panic!("granted")
    };
    assert_eq!(retry_after, Duration::from_secs(60));
    clock.advance(retry_after);
    assert!(is_granted(&throttle.reserve("ada", &address(1))));
    assert!(!is_granted(&throttle.reserve("ada", &address(1))));
}

#[test]
fn strangers_exhaust_the_account_counter_and_known_devices_get_in() {
    let (throttle, _) = throttle(1000);
    for n in 0..30 {
        assert!(is_granted(&throttle.reserve("ada", &address(n))));
    }
    assert!(matches!(
        throttle.reserve("ada", &address(99)),
        ReserveOutcome::Throttled { account: true, .. }
    ));
    assert!(is_granted(&throttle.reserve_known("ada", &address(99))));
    assert!(is_granted(&throttle.reserve_known("ada", &device(7))));
    assert!(is_granted(&throttle.reserve("bob", &address(99))));
}

#[test]
fn a_known_device_has_no_more_guesses_than_an_address() {
    let (throttle, _) = throttle(1000);
    let (session, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
    for origin in [
        ThrottleKey::Device(session, DeviceToken::Newest),
        ThrottleKey::Device(session, DeviceToken::Spent),
        ThrottleKey::Session(session),
        ThrottleKey::Device(other, DeviceToken::Newest),
    ] {
        let granted =
            (0..50).filter(|_| is_granted(&throttle.reserve_known("ada", &origin))).count();
        assert_eq!(granted, 10, "{origin:?}");
    }
}

#[test]
fn all_tokens_of_a_kind_together_have_a_hundred_guesses_a_window() {
    let (throttle, clock) = throttle(1000);
    let take = |origin: &dyn Fn(Uuid) -> ThrottleKey| {
        let sessions = (0..20).map(Uuid::from_u128);
        let attempts = sessions.flat_map(|session| std::iter::repeat_n(origin(session), 10));
        attempts.filter(|origin| is_granted(&throttle.reserve_known("ada", origin))).count()
    };
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Spent)), 100);
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Newest)), 0);
    assert_eq!(take(&ThrottleKey::Session), 100);
    assert!(is_granted(&throttle.reserve_known("ada", &address(1))));
    clock.advance(Duration::from_secs(600));
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Newest)), 100);
}

#[test]
fn a_flood_of_accounts_fills_no_more_than_the_table_and_forgets_no_account_under_attack() {
    let (throttle, _) = throttle(1000);
    for _ in 0..10 {
        assert!(is_granted(&throttle.reserve("ada", &address(1))));
    }
    for n in 0..5000 {
        let _ = throttle.reserve(&format!("somebody {n}"), &address(n));
    }
    assert!(lock(&throttle.counters).len() <= 1000);
    assert!(!is_granted(&throttle.reserve("ada", &address(1))));
}

#[test]
fn a_sweep_drops_full_counters() {
    let (throttle, clock) = throttle(1000);
    let _ = throttle.reserve("ada", &address(1));
    clock.advance(Duration::from_secs(61));
    throttle.sweep();
    assert!(lock(&throttle.counters).is_empty());
}

#[test]
fn a_wait_is_at_least_one_second_rounded_up() {
    let (throttle, clock) = throttle(1000);
    for _ in 0..10 {
        assert!(is_granted(&throttle.reserve("ada", &address(1))));
    }
    let mut passed = 0;
    for (at_micros, wait_seconds) in
        [(0, 60), (1, 60), (999_999, 60), (1_000_000, 59), (59_000_000, 1), (59_999_999, 1)]
    {
        clock.advance(Duration::from_micros(at_micros - passed));
        passed = at_micros;
        let ReserveOutcome::Throttled { retry_after, account: false } =
            throttle.reserve("ada", &address(1))
        else {
            panic!("granted after {at_micros} µs")
        };
        assert_eq!(retry_after, Duration::from_secs(wait_seconds), "{at_micros} µs");
    }
}

#[test]
fn a_reported_wait_suffices_for_the_account_too() {
    let (throttle, clock) = throttle(1000);
    for n in 0..30 {
        assert!(is_granted(&throttle.reserve("ada", &address(n))));
    }
    let ReserveOutcome::Throttled { retry_after, account: true } =
        throttle.reserve("ada", &address(99))
    else {
        panic!("granted")
    };
    assert_eq!(retry_after, Duration::from_secs(20));
    clock.advance(retry_after.checked_sub(Duration::from_micros(1)).unwrap());
    assert!(!is_granted(&throttle.reserve("ada", &address(99))));
    clock.advance(Duration::from_micros(1));
    assert!(is_granted(&throttle.reserve("ada", &address(99))));
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
fn guesses_of_known_sources_count_for_the_account() {
    let (throttle, _) = throttle(1000);
    for n in 0..3 {
        for _ in 0..10 {
            assert!(is_granted(&throttle.reserve_known("ada", &address(n))));
        }
    }
    assert!(matches!(
        throttle.reserve("ada", &address(99)),
        ReserveOutcome::Throttled { account: true, .. }
    ));
}

#[test]
fn guesses_of_known_sources_do_not_delay_unknown_ones() {
    let (throttle, clock) = throttle(1000);
    for n in 0..10 {
        for _ in 0..10 {
            assert!(is_granted(&throttle.reserve_known("ada", &address(n))));
        }
    }
    let ReserveOutcome::Throttled { retry_after, account: true } =
        throttle.reserve("ada", &address(99))
    else {
        panic!("granted")
    };
    assert_eq!(retry_after, Duration::from_secs(20));
    clock.advance(retry_after);
    assert!(is_granted(&throttle.reserve("ada", &address(99))));
}

#[test]
fn an_exhausted_source_is_reported_even_if_the_account_is_exhausted_too() {
    let (throttle, _) = throttle(1000);
    for n in 0..3 {
        for _ in 0..10 {
            assert!(is_granted(&throttle.reserve("ada", &address(n))));
        }
    }
    assert!(matches!(
        throttle.reserve("ada", &address(0)),
        ReserveOutcome::Throttled { account: false, .. }
    ));
    assert!(matches!(
        throttle.reserve_known("ada", &address(0)),
        ReserveOutcome::Throttled { account: false, .. }
    ));
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

#[test]
fn a_flood_within_one_moment_empties_no_more_than_half_of_the_table() {
    let (throttle, _) = throttle(1000);
    for n in 0..500 {
        let _ = throttle.reserve(&format!("somebody {n}"), &address(n));
    }
    assert_eq!(lock(&throttle.counters).len(), 1000);
    let _ = throttle.reserve("ada", &address(1));
    assert!((500..=502).contains(&lock(&throttle.counters).len()));
}

#[test]
fn a_full_table_drops_full_counters_first() {
    let (throttle, clock) = throttle(1000);
    for n in 0..400 {
        let _ = throttle.reserve(&format!("somebody {n}"), &address(n));
    }
    clock.advance(Duration::from_secs(60));
    for n in 0..100 {
        let _ = throttle.reserve(&format!("somebody else {n}"), &address(n));
    }
    let _ = throttle.reserve("ada", &address(1));
    assert_eq!(lock(&throttle.counters).len(), 202);
}

#[test]
fn counter_ids_do_not_reveal_addresses() {
    let (a, _) = throttle(1000);
    let (b, _) = throttle(1000);
    for throttle in [&a, &b] {
        let _ = throttle.reserve("ada", &address(1));
    }
    assert!(lock(&a.counters).keys().all(|id| !lock(&b.counters).contains_key(id)));
}

#[test]
fn an_address_and_a_device_never_share_a_counter() {
    let (throttle, _) = throttle(1000);
    let session = Uuid::from_u128(7);
    let _ = throttle.reserve("ada", &ThrottleKey::Device(session, DeviceToken::Newest));
    let _ = throttle.reserve("ada", &ThrottleKey::Device(session, DeviceToken::Spent));
    let _ = throttle.reserve("ada", &ThrottleKey::Session(session));
    let _ = throttle.reserve("ada", &ThrottleKey::Network(session.to_string()));
    // These four, all devices, all sessions, and the account.
    assert_eq!(lock(&throttle.counters).len(), 7);
}
