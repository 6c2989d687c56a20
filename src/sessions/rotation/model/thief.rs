//! A thief who copied a token, with or without its key, and how soon the session ends.

use std::collections::HashSet;

use super::{Message, RetryKeys, Rules, Session, Store};

/// The owner and a thief who copied the token, each using their own after the window, in every
/// order; returns the maximum number of alternations before the session ends.
fn max_alternations(owner: RetryKeys, thief: RetryKeys) -> usize {
    const TURNS: u32 = 8;
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest);
    let keys = [owner, thief].map(|keys| keys != RetryKeys::None);
    let mut most = 0;
    for order in 0..1_u32 << TURNS {
        let mut session = Session::at(3);
        let mut held = [3, 3];
        let turns: Vec<usize> =
            (0..TURNS).map(|turn| usize::from(order >> turn & 1 == 1)).collect();
        for (turn, &who) in turns.iter().enumerate() {
            // Each generates their own keys: even ones and odd ones.
            let key = keys[who].then_some(u8::from(who == 1));
            let Ok(after) = session.refreshed(Message { generation: held[who], key }, &rules)
            else {
                let changes = turns[..=turn].windows(2).filter(|pair| pair[0] != pair[1]).count();
                most = most.max(changes);
                break;
            };
            held[who] = after.generation;
            session = Session { window_is_open: false, ..after };
            let changes = turns[..=turn].windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes < 3, "owner and thief alternate: {turns:?}");
        }
    }
    most
}

#[test]
fn a_thief_outside_the_window_is_detected_at_the_next_use_of_an_outdated_token() {
    assert_eq!(max_alternations(RetryKeys::PerToken, RetryKeys::PerToken), 1);
}

#[test]
fn without_keys_a_thief_is_detected_one_round_later() {
    for (owner, thief) in [
        (RetryKeys::None, RetryKeys::None),
        (RetryKeys::None, RetryKeys::PerToken),
        (RetryKeys::PerToken, RetryKeys::None),
    ] {
        assert!((2..=3).contains(&max_alternations(owner, thief)), "{owner:?} {thief:?}");
    }
}

/// The most refreshes of the owner through which a thief with token and key keeps the generation
/// unchanged. He sends the stolen token with or without a key, at any time, also just before her;
/// she refreshes at most once while a window is open, because access tokens live longer.
fn max_refreshes_without_rotation() -> usize {
    const ENOUGH: usize = 50;
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest);
    let stolen = |key| Message { generation: 0, key };
    let owners = Message { generation: 1, key: None };
    let rotated = |key| Session::at(0).refreshed(stolen(key), &rules).unwrap();
    let mut next: Vec<_> = [None, Some(0)].map(|key| (rotated(key), true, 0)).into();
    let mut seen = HashSet::new();
    let mut most = 0;
    while let Some((session, may_refresh, refreshes)) = next.pop() {
        if refreshes > ENOUGH || !seen.insert((session.clone(), may_refresh, refreshes)) {
            continue;
        }
        most = most.max(refreshes);
        next.push((Session { window_is_open: false, ..session.clone() }, true, refreshes));
        for key in [None, Some(0), Some(1)] {
            if let Ok(after) = session.refreshed(stolen(key), &rules) {
                next.push((after, may_refresh, refreshes));
            }
        }
        if let (true, Ok(after)) = (may_refresh, session.refreshed(owners, &rules))
            && after.generation == 1
        {
            next.push((after, false, refreshes + 1));
        }
    }
    most
}

#[test]
fn a_thief_with_token_and_key_delays_detection_by_at_most_two_refreshes() {
    assert_eq!(max_refreshes_without_rotation(), 2);
}
