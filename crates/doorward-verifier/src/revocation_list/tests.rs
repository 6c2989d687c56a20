use super::*;

const NOW: i64 = 1_800_000_000;
const LEEWAY: Duration = Duration::from_secs(30);

fn list(capacity: usize) -> (RevocationList, Clock) {
    let clock = Clock::manual(Timestamp::from_unix_seconds(NOW));
    (RevocationList::new(capacity, LEEWAY, clock.clone()), clock)
}

fn entry(id: &str, exp: i64) -> FeedEntry {
    FeedEntry { id: id.into(), exp }
}

fn status_of(list: &RevocationList, id: &str) -> TokenStatus {
    list.status_of(&["other".into(), id.into()])
}

#[test]
fn before_the_list_is_complete_only_listed_ids_are_known() {
    let (list, _) = list(10);
    list.add(vec![entry("a", NOW + 600)]).unwrap();
    assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
    assert_eq!(status_of(&list, "b"), TokenStatus::Unknown);
    list.complete(Duration::from_secs(2)).unwrap();
    assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
    assert_eq!(status_of(&list, "b"), TokenStatus::NotRevoked(Duration::from_secs(2)));
}

#[test]
fn the_staleness_counts_from_the_latest_complete_report() {
    let (list, clock) = list(10);
    list.complete(Duration::from_secs(1)).unwrap();
    clock.advance(Duration::from_secs(3));
    assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
    list.complete(Duration::from_secs(60)).unwrap();
    assert_eq!(list.staleness(), Some(Duration::from_secs(4)));
    list.complete(Duration::ZERO).unwrap();
    assert_eq!(list.staleness(), Some(Duration::ZERO));
}

#[test]
fn an_id_is_kept_until_no_token_can_need_it() {
    let (list, clock) = list(10);
    list.complete(Duration::ZERO).unwrap();
    list.add(vec![entry("a", NOW + 10), entry("b", NOW + 500), entry("old", NOW - 91)]).unwrap();
    list.add(vec![entry("a", NOW + 5)]).unwrap();
    assert_eq!(list.len(), 2);
    clock.advance(Duration::from_secs(99));
    list.purge();
    assert_eq!(status_of(&list, "a"), TokenStatus::Revoked);
    clock.advance(Duration::from_secs(1));
    list.purge();
    assert!(matches!(status_of(&list, "a"), TokenStatus::NotRevoked(_)));
    assert_eq!(status_of(&list, "b"), TokenStatus::Revoked);
    list.add(vec![entry("forever", i64::MAX)]).unwrap();
    clock.advance(Duration::from_secs(1 << 32));
    list.purge();
    assert_eq!(status_of(&list, "forever"), TokenStatus::Revoked);
}

#[test]
fn entries_beyond_the_capacity_make_the_list_stale_and_drop_nothing() {
    let (list, clock) = list(2_500);
    list.complete(Duration::ZERO).unwrap();
    let entries = |from: usize, to| (from..to).map(|n| entry(&n.to_string(), NOW + 60)).collect();
    list.add(entries(0, 2_500)).unwrap();
    list.add(entries(0, 2_500)).unwrap();
    assert_eq!(list.staleness(), Some(Duration::ZERO));
    assert_eq!(list.add(entries(2_400, 2_600)), Err(ApplyError::Full(Full(2_500))));
    assert_eq!((list.len(), list.staleness()), (2_500, Some(Duration::MAX)));
    assert_eq!(status_of(&list, "0"), TokenStatus::Revoked);
    assert_eq!(status_of(&list, "2550"), TokenStatus::NotRevoked(Duration::MAX));
    clock.advance(Duration::from_secs(150));
    list.purge();
    assert_eq!(list.len(), 0);
    list.complete(Duration::ZERO).unwrap();
    assert_eq!(list.staleness(), Some(Duration::ZERO));
}
