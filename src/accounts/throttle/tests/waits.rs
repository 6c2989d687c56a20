//! The reported waits.

use super::*;

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
