//! The decision table, row by row, with its boundaries.

use super::*;

const WINDOW: Duration = Duration::from_secs(30);
const STRICT: Duration = Duration::ZERO;
const TICK: Duration = Duration::from_micros(1);

/// When the session below reached its generation.
const ROTATED: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const EXPIRES: Timestamp = Timestamp::from_unix_seconds(2_000_000);
const ENDS: Timestamp = Timestamp::from_unix_seconds(3_000_000);

/// A live session at generation 5, reached without a key.
fn session() -> SessionState {
    SessionState {
        generation: 5,
        rotated_at: Some(ROTATED),
        retry_keys: Vec::new(),
        forgiven_generation: None,
        reopened_generation: None,
        ended: None,
        expires_at: EXPIRES,
        ends_at: ENDS,
    }
}

fn session_with(keys: &[KeyHash]) -> SessionState {
    SessionState { retry_keys: keys.to_vec(), ..session() }
}

fn key(n: u8) -> KeyHash {
    KeyHash::of(&[n])
}

fn in_window(state: &SessionState, presented: u32, key: Option<KeyHash>) -> Decision {
    decide(state, presented, key, ROTATED.plus(WINDOW).minus(TICK), WINDOW)
}

fn later(state: &SessionState, presented: u32, key: Option<KeyHash>) -> Decision {
    decide(state, presented, key, ROTATED.plus(WINDOW), WINDOW)
}

fn strictly(state: &SessionState, presented: u32, key: Option<KeyHash>) -> Decision {
    decide(state, presented, key, ROTATED.plus(TICK), STRICT)
}

fn rotation(to: u32, keys: &[KeyHash]) -> Decision {
    Decision::Rotate { to, keys: keys.to_vec(), fast_forward: false }
}

#[test]
fn any_token_of_an_ended_session_gets_the_end_reason() {
    for &reason in EndReason::ALL {
        let state = SessionState { ended: Some(reason), ..session_with(&[key(1)]) };
        for presented in [0, 3, 4, 5, 6, u32::MAX] {
            for now in [ROTATED, ROTATED.plus(WINDOW), ENDS] {
                let step = decide(&state, presented, Some(key(1)), now, WINDOW);
                assert_eq!(step, Decision::Ended(reason));
            }
        }
    }
}

#[test]
fn a_session_expires_exactly_at_its_expiry() {
    let now = |now| decide(&session(), 5, None, now, WINDOW);
    assert_eq!(now(EXPIRES.minus(TICK)), rotation(6, &[]));
    assert_eq!(now(EXPIRES), Decision::Expired);
}

#[test]
fn the_absolute_timeout_overrides_the_idle_timeout() {
    let state = SessionState { expires_at: ENDS.plus(WINDOW), ..session() };
    let now = |now| decide(&state, 5, None, now, WINDOW);
    assert_eq!(now(ENDS.minus(TICK)), rotation(6, &[]));
    assert_eq!(now(ENDS), Decision::Expired);
}

#[test]
fn an_expired_session_does_not_report_a_replay_as_reuse() {
    assert_eq!(decide(&session(), 0, None, EXPIRES, WINDOW), Decision::Expired);
}

#[test]
fn within_the_window_the_token_and_its_parent_get_the_same_answer() {
    assert_eq!(in_window(&session(), 5, None), Decision::RepeatResponse);
    assert_eq!(in_window(&session(), 4, None), Decision::RepeatResponse);
}

#[test]
fn within_the_window_a_grandparent_is_reuse() {
    assert_eq!(in_window(&session(), 3, None), Decision::Reuse);
    assert_eq!(in_window(&session_with(&[key(1)]), 3, Some(key(1))), Decision::Reuse);
}

#[test]
fn within_the_window_a_parents_new_key_is_kept() {
    let step = in_window(&session_with(&[key(1)]), 4, Some(key(2)));
    assert_eq!(step, Decision::RepeatResponseAndStoreKey(vec![key(1), key(2)]));
}

#[test]
fn within_the_window_a_known_key_is_not_kept_twice_and_the_tokens_own_never() {
    assert_eq!(in_window(&session_with(&[key(1)]), 4, Some(key(1))), Decision::RepeatResponse);
    assert_eq!(in_window(&session(), 5, Some(key(1))), Decision::RepeatResponse);
}

#[test]
fn a_rotation_keeps_four_keys_and_no_more() {
    let keys = [1, 2, 3, 4].map(key);
    let fourth = in_window(&session_with(&keys[..3]), 4, Some(keys[3]));
    assert_eq!(fourth, Decision::RepeatResponseAndStoreKey(keys.to_vec()));
    assert_eq!(in_window(&session_with(&keys), 4, Some(key(5))), Decision::RepeatResponse);
}

#[test]
fn the_window_is_half_open() {
    let at = |now| decide(&session(), 5, None, now, WINDOW);
    assert_eq!(at(ROTATED), Decision::RepeatResponse);
    assert_eq!(at(ROTATED.plus(WINDOW).minus(TICK)), Decision::RepeatResponse);
    assert_eq!(at(ROTATED.plus(WINDOW)), rotation(6, &[]));
}

#[test]
fn after_the_window_the_token_rotates_and_its_key_is_kept() {
    assert_eq!(later(&session(), 5, None), rotation(6, &[]));
    assert_eq!(later(&session_with(&[key(1)]), 5, Some(key(2))), rotation(6, &[key(2)]));
}

#[test]
fn a_session_that_never_rotated_rotates_at_once() {
    let fresh = SessionState { generation: 0, rotated_at: None, ..session() };
    assert_eq!(in_window(&fresh, 0, Some(key(1))), rotation(1, &[key(1)]));
}

#[test]
fn a_key_of_the_previous_rotation_does_not_count() {
    let state = session_with(&[key(1), key(2)]);
    assert_eq!(later(&state, 5, Some(key(2))), rotation(6, &[]));
    assert_eq!(strictly(&state, 5, Some(key(2))), rotation(6, &[]));
}

#[test]
fn after_the_window_a_parent_with_any_known_key_is_a_proven_retry() {
    let state = session_with(&[key(1), key(2)]);
    assert_eq!(later(&state, 4, Some(key(1))), Decision::ProvenRetry);
    assert_eq!(later(&state, 4, Some(key(2))), Decision::ProvenRetry);
    let last_moment = decide(&state, 4, Some(key(2)), EXPIRES.minus(TICK), WINDOW);
    assert_eq!(last_moment, Decision::ProvenRetry);
}

#[test]
fn a_proven_retry_opens_the_window_once_for_each_generation() {
    let reopened = |generation| SessionState {
        reopened_generation: Some(generation),
        ..session_with(&[key(1)])
    };
    assert_eq!(later(&reopened(5), 4, Some(key(1))), Decision::RepeatProvenRetry);
    assert_eq!(strictly(&reopened(5), 4, Some(key(1))), Decision::RepeatProvenRetry);
    assert_eq!(later(&reopened(4), 4, Some(key(1))), Decision::ProvenRetry);
    assert_eq!(later(&reopened(5), 4, None), Decision::Reuse);
    assert_eq!(later(&reopened(5), 5, None), rotation(6, &[]));
}

#[test]
fn a_generation_that_was_forgiven_does_not_open_its_window_a_second_time() {
    let state = SessionState { forgiven_generation: Some(5), ..session_with(&[key(1)]) };
    assert_eq!(later(&state, 4, Some(key(1))), Decision::RepeatProvenRetry);
}

#[test]
fn after_the_window_a_parent_without_the_known_key_is_reuse() {
    let state = session_with(&[key(1)]);
    assert_eq!(later(&state, 4, None), Decision::Reuse);
    assert_eq!(later(&state, 4, Some(key(2))), Decision::Reuse);
}

#[test]
fn a_key_proves_nothing_for_a_grandparent() {
    assert_eq!(later(&session_with(&[key(1)]), 3, Some(key(1))), Decision::Reuse);
}

#[test]
fn without_a_known_key_a_predecessor_is_forgiven_once() {
    assert_eq!(later(&session(), 4, None), Decision::ForgiveLostResponse);
    assert_eq!(later(&session(), 4, Some(key(1))), Decision::ForgiveLostResponse);
}

#[test]
fn two_generations_in_a_row_are_not_forgiven_but_every_other_one_is() {
    let forgiven = |generation| SessionState { forgiven_generation: Some(generation), ..session() };
    assert_eq!(later(&forgiven(5), 4, None), Decision::Reuse);
    assert_eq!(later(&forgiven(4), 4, None), Decision::Reuse);
    assert_eq!(later(&forgiven(3), 4, None), Decision::ForgiveLostResponse);
}

#[test]
fn a_forgiven_session_still_answers_within_its_new_window() {
    let state = SessionState { forgiven_generation: Some(5), ..session() };
    assert_eq!(in_window(&state, 4, None), Decision::RepeatResponse);
}

#[test]
fn a_token_newer_than_the_row_moves_the_session_forward() {
    let expected =
        |keys: &[KeyHash]| Decision::Rotate { to: 9, keys: keys.to_vec(), fast_forward: true };
    assert_eq!(in_window(&session(), 8, None), expected(&[]));
    assert_eq!(later(&session(), 8, Some(key(1))), expected(&[key(1)]));
    assert_eq!(strictly(&session(), 8, Some(key(1))), expected(&[key(1)]));
    assert_eq!(later(&session_with(&[key(1)]), 8, Some(key(1))), expected(&[]));
}

#[test]
fn any_older_token_is_reuse_at_any_time() {
    for presented in 0..=3 {
        assert_eq!(in_window(&session(), presented, None), Decision::Reuse);
        assert_eq!(later(&session(), presented, None), Decision::Reuse);
        assert_eq!(strictly(&session(), presented, None), Decision::Reuse);
    }
}

#[test]
fn the_first_generation_has_no_parent() {
    let fresh = SessionState { generation: 0, ..session() };
    assert_eq!(later(&fresh, u32::MAX, None), Decision::Expired);
}

#[test]
fn the_last_generation_expires_instead_of_overflowing() {
    let last = SessionState { generation: u32::MAX, ..session() };
    for window in [STRICT, WINDOW] {
        for now in [ROTATED, ROTATED.plus(WINDOW)] {
            for state in [&last, &session()] {
                assert_eq!(decide(state, u32::MAX, None, now, window), Decision::Expired);
            }
        }
    }
    assert_eq!(later(&last, u32::MAX - 1, None), Decision::ForgiveLostResponse);
    let before = SessionState { generation: u32::MAX - 1, ..session() };
    assert_eq!(later(&before, u32::MAX - 1, None), rotation(u32::MAX, &[]));
    let forgiven = SessionState { forgiven_generation: Some(u32::MAX), ..before };
    assert_eq!(later(&forgiven, u32::MAX - 2, None), Decision::ForgiveLostResponse);
}

#[test]
fn in_strict_mode_every_use_rotates() {
    assert_eq!(strictly(&session(), 5, None), rotation(6, &[]));
    assert_eq!(decide(&session(), 5, None, ROTATED, STRICT), rotation(6, &[]));
    assert_eq!(strictly(&session(), 5, Some(key(1))), rotation(6, &[key(1)]));
}

#[test]
fn in_strict_mode_a_replay_needs_its_key_and_nothing_is_forgiven() {
    let state = session_with(&[key(1)]);
    assert_eq!(strictly(&state, 4, Some(key(1))), Decision::ProvenRetry);
    assert_eq!(strictly(&state, 4, Some(key(2))), Decision::Reuse);
    assert_eq!(strictly(&state, 4, None), Decision::Reuse);
    assert_eq!(strictly(&session(), 4, None), Decision::Reuse);
    assert_eq!(strictly(&session(), 4, Some(key(1))), Decision::Reuse);
}

#[test]
fn in_strict_mode_a_node_with_a_slow_clock_forgives_nothing() {
    let before = ROTATED.minus(Duration::from_secs(1));
    assert_eq!(decide(&session(), 4, None, before, STRICT), Decision::Reuse);
    assert_eq!(decide(&session(), 5, None, before, STRICT), rotation(6, &[]));
}

#[test]
fn a_use_extends_the_idle_timeout_but_never_past_the_absolute_timeout() {
    let idle_timeout = |secs| next_expiry(&session(), ROTATED, Duration::from_secs(secs));
    assert_eq!(idle_timeout(1_500_000), Timestamp::from_unix_seconds(2_500_000));
    assert_eq!(idle_timeout(2_000_000), ENDS);
    assert_eq!(idle_timeout(2_000_001), ENDS);
    assert_eq!(next_expiry(&session(), ROTATED, Duration::MAX), ENDS);
}

#[test]
fn a_use_never_shortens_the_idle_timeout() {
    assert_eq!(next_expiry(&session(), ROTATED, Duration::from_secs(1)), EXPIRES);
}

#[test]
fn stored_keys_round_trip_and_have_different_hashes() {
    let keys = [1, 2, 3, 4].map(key);
    assert_eq!(KeyHash::split(&KeyHash::join(&keys)), keys);
    assert_eq!(KeyHash::split(&[]), []);
    assert_ne!(key(1), key(2));
}

#[test]
fn every_reason_is_read_back_by_its_name() {
    for &reason in EndReason::ALL {
        assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
    }
    assert_eq!(EndReason::parse("Logout"), None);
}
