//! The attempts of known devices and networks.

use super::*;

#[test]
fn known_sources_are_granted_attempts_after_unknown_ones_reach_the_account_limit() {
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
    for source in [
        ThrottleKey::Device(session, DeviceToken::Newest),
        ThrottleKey::Device(session, DeviceToken::Older),
        ThrottleKey::Session(session),
        ThrottleKey::Device(other, DeviceToken::Newest),
    ] {
        let granted =
            (0..50).filter(|_| is_granted(&throttle.reserve_known("ada", &source))).count();
        assert_eq!(granted, 10, "{source:?}");
    }
}

#[test]
fn all_tokens_of_a_kind_together_have_a_hundred_guesses_a_window() {
    let (throttle, clock) = throttle(1000);
    let take = |source: &dyn Fn(Uuid) -> ThrottleKey| {
        let sessions = (0..20).map(Uuid::from_u128);
        let attempts = sessions.flat_map(|session| std::iter::repeat_n(source(session), 10));
        attempts.filter(|source| is_granted(&throttle.reserve_known("ada", source))).count()
    };
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Older)), 100);
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Newest)), 0);
    assert_eq!(take(&ThrottleKey::Session), 100);
    assert!(is_granted(&throttle.reserve_known("ada", &address(1))));
    clock.advance(Duration::from_secs(600));
    assert_eq!(take(&|session| ThrottleKey::Device(session, DeviceToken::Newest)), 100);
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
