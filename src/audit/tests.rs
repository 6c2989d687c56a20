use super::ids::ordered_id;
use super::*;

#[test]
fn a_kind_is_found_by_its_name() {
    for &kind in EventKind::ALL {
        assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(EventKind::parse("Login_Failed"), None);
}

#[test]
fn ids_sort_by_time_and_then_by_creation_order() {
    let at = |micros: i64| Timestamp::from_micros(1_800_000_000_000_000 + micros);
    let mut ids = Vec::new();
    for micros in [0, 1, 2, 255, 256, 999, 1000, 1001] {
        ids.push(first_id(at(micros)));
        for count in [0, 1, 255, 256, 0x3fff_ffff, 0x4000_0000, u32::MAX] {
            ids.push(ordered_id(at(micros), count, [1; 4]));
        }
    }
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(ids[1].uuid().get_version_num(), 7);
    assert_eq!(ids[1].uuid().get_variant(), uuid::Variant::RFC4122);
}
