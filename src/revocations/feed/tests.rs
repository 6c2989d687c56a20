use super::log::LOG_CAPACITY;
use super::publish::{MIN_PAUSE, pause};
use super::*;

fn entry(number: u64) -> RevocationEntry {
    let id = Id::from(uuid::Uuid::from_u128(number.into()));
    RevocationEntry { id, expires_at: Timestamp::from_unix_seconds(1) }
}

#[test]
fn a_bounded_log_reports_lost_entries() {
    let mut log = RevocationLog::new();
    let count = u64::try_from(LOG_CAPACITY).unwrap() + 3;
    (0..count).for_each(|number| log.push(entry(number)));
    assert_eq!(log.entries.len(), LOG_CAPACITY);
    assert_eq!(log.end(), count);
    assert_eq!(log.since(2), None);
    assert_eq!(log.since(3).unwrap()[0], entry(3));
    assert_eq!(log.since(count - 1).unwrap(), [entry(count - 1)]);
    assert_eq!(log.since(count).unwrap(), []);
    assert_eq!(log.since(count + 1), None);
}

#[test]
fn every_number_of_subscribers_is_notified_within_a_second() {
    assert_eq!(pause(0), MIN_PAUSE);
    assert_eq!(pause(1000), Duration::from_millis(400));
    // Their share of the writing comes on top.
    assert!(pause(MAX_SUBSCRIBERS) + Duration::from_micros(20) * 5000 < Duration::from_secs(1));
}

#[test]
fn a_cursor_round_trips() {
    let cursor = FeedCursor { boot: 0xfe, number: 7 };
    assert_eq!(cursor.to_string(), "00000000000000fe.7");
    assert_eq!(FeedCursor::parse("00000000000000fe.7"), Some(cursor));
    for other in ["", "7", "fe.7", "00000000000000fe.", "00000000000000fe.-1", "x"] {
        assert_eq!(FeedCursor::parse(other), None, "{other}");
    }
}
