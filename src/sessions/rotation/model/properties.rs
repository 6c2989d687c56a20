//! The properties of the rule: which clients are logged out, and when.

use std::time::Duration;

use super::{Ending, LateMessages, LateReturn, RetryKeys, Rules, Store, endings};

const BOTH: [Store; 2] = [Store::Last, Store::Greatest];

impl Rules {
    /// With fewer messages, because there are many more states.
    fn late(self, late: LateMessages) -> Self {
        let last_generation = self.last_generation.min(3);
        Self { late, in_transit: 2, last_generation, ..self }
    }

    fn behind(self, behind: LateReturn) -> Self {
        Self { behind, ..self }
    }

    fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    fn strict(self) -> Self {
        Self { window: Duration::ZERO, ..self }
    }
}

#[test]
fn a_client_that_returns_in_time_is_never_logged_out() {
    for keys in [RetryKeys::None, RetryKeys::PerToken, RetryKeys::PerRequestAtWill] {
        for store in BOTH {
            let rules = Rules::of(keys, store);
            assert_eq!(endings(rules), [].into(), "{rules:?}");
        }
    }
}

#[test]
fn a_client_with_a_key_for_its_token_may_return_at_any_time() {
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest).behind(LateReturn::AtAnyTime);
    assert_eq!(endings(rules.patient()), [].into());
}

#[test]
fn a_late_client_that_refreshes_its_fresh_token_at_once_or_stores_an_older_one_may_be_logged_out() {
    let hasty = Rules::of(RetryKeys::PerToken, Store::Greatest).behind(LateReturn::AtAnyTime);
    assert_eq!(endings(hasty), [Ending::TooOld].into());
    let last = Rules::of(RetryKeys::PerToken, Store::Last).behind(LateReturn::AtAnyTime).patient();
    assert_eq!(endings(last), [Ending::Unproven].into());
}

#[test]
fn a_client_without_keys_survives_a_lost_answer_at_any_time_but_not_two_in_a_row() {
    for store in BOTH {
        let rules = Rules::of(RetryKeys::None, store);
        assert_eq!(endings(rules.behind(LateReturn::NotTwiceInARow)), [].into(), "{rules:?}");
        let often = rules.behind(LateReturn::AtAnyTime);
        assert_eq!(endings(often), [Ending::ForgivenBefore].into(), "{rules:?}");
    }
}

#[test]
fn a_key_for_each_request_must_be_sent_again_by_a_client_that_comes_back_later() {
    let later = |keys| Rules::of(keys, Store::Greatest).behind(LateReturn::AtAnyTime).patient();
    assert_eq!(endings(later(RetryKeys::PerRequest)), [].into());
    assert_eq!(endings(later(RetryKeys::PerRequestAtWill)), [Ending::Unproven].into());
}

#[test]
fn four_keys_of_a_token_are_remembered_and_the_fifth_proves_nothing() {
    let rules = Rules::of(RetryKeys::PerRequest, Store::Greatest).behind(LateReturn::AtAnyTime);
    let with = |keys_of_a_token| endings(Rules { keys_of_a_token, in_transit: 1, ..rules });
    assert_eq!(with(4), [].into());
    assert_eq!(with(5), [Ending::Unproven].into());
}

#[test]
fn late_answers_do_no_harm_to_a_client_that_stores_no_older_token_over_a_newer() {
    for keys in [RetryKeys::None, RetryKeys::PerToken, RetryKeys::PerRequestAtWill] {
        let greatest = Rules::of(keys, Store::Greatest).late(LateMessages::Answers);
        assert_eq!(endings(greatest), [].into(), "{greatest:?}");
    }
    for keys in [RetryKeys::None, RetryKeys::PerToken] {
        let last = Rules {
            last_generation: 4,
            ..Rules::of(keys, Store::Last).late(LateMessages::Answers)
        };
        assert!(endings(last).contains(&Ending::TooOld), "{last:?}");
    }
}

#[test]
fn a_late_answer_to_a_client_that_came_back_later_may_leave_a_request_two_generations_behind() {
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest).late(LateMessages::Answers);
    assert_eq!(endings(rules.behind(LateReturn::AtAnyTime)), [Ending::TooOld].into());
}

#[test]
fn a_request_two_generations_late_ends_a_session_with_every_key() {
    for store in BOTH {
        for keys in [RetryKeys::None, RetryKeys::PerToken, RetryKeys::PerRequest] {
            let rules = Rules::of(keys, store).late(LateMessages::Everything);
            assert!(endings(rules).contains(&Ending::TooOld), "{rules:?}");
        }
    }
    let best = Rules::of(RetryKeys::PerToken, Store::Greatest).late(LateMessages::Everything);
    assert_eq!(endings(best.behind(LateReturn::AtAnyTime)), [Ending::TooOld].into());
}

#[test]
fn strict_mode_suits_a_client_with_keys_and_one_request_at_a_time() {
    for store in BOTH {
        let rules = Rules::of(RetryKeys::PerToken, store).behind(LateReturn::AtAnyTime).strict();
        assert_eq!(endings(Rules { in_transit: 1, ..rules }), [].into(), "{store:?}");
        assert!(endings(Rules { in_transit: 2, ..rules }).contains(&Ending::TooOld), "{store:?}");
        let rules = Rules { keys: RetryKeys::None, in_transit: 1, ..rules };
        assert_eq!(endings(rules), [Ending::Unproven].into(), "{store:?}");
    }
}
