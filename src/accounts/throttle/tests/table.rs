//! The table of counters: bounded, swept, and keyed by hashes.

use super::*;

#[test]
fn a_flood_of_accounts_exceeds_no_capacity_and_evicts_no_account_under_attack() {
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
fn a_flood_at_one_instant_evicts_at_most_half_of_the_counters() {
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
    let _ = throttle.reserve("ada", &ThrottleKey::Device(session, DeviceToken::Older));
    let _ = throttle.reserve("ada", &ThrottleKey::Session(session));
    let _ = throttle.reserve("ada", &ThrottleKey::Network(session.to_string()));
    // These four, all devices, all sessions, and the account.
    assert_eq!(lock(&throttle.counters).len(), 7);
}
