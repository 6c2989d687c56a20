//! Explores every interleaving of a few requests through [`decide`]: when an honest client is
//! logged out, and whether a thief is detected.
//!
//! The client is one storage shared by any number of tabs. Messages may overtake each other and may
//! be lost; a request may be sent again at any time. Every state that a client can reach within
//! some generations is visited, and every way in which its session ends is collected. The results,
//! as the tests assert them:
//!
//! | requests that arrive after the window | responses likewise | a client that returns later | is logged out |
//! | --- | --- | --- | --- |
//! | no | no | no | never |
//! | no | no | with the key beside its token | never, if it stores no older token over a newer and refreshes no token younger than the window |
//! | no | no | with a key of its own that arrived before, one of four | never, likewise |
//! | no | no | without keys, after one lost answer | never |
//! | no | no | without keys, after two in a row | at the second |
//! | no | no | with a key that never arrived, or the fifth | at once |
//! | no | yes | no | never, if it stores no older token over a newer |
//! | no | yes | with any key | by a request two generations old |
//! | yes | | | by a request two generations old |

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::*;

mod thief;

const WINDOW: Duration = Duration::from_secs(30);
const ROTATED: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const FAR: Timestamp = Timestamp::from_unix_seconds(2_000_000);

/// The behaviour of the client and of the network.
#[derive(Clone, Copy, Debug)]
struct Rules {
    keys: RetryKeys,
    store: Store,
    late: Late,
    behind: Behind,
    /// Whether the client waits with a fresh token until no request with an older one is in
    /// transit, like one that refreshes no token younger than the window.
    is_patient: bool,
    window: Duration,
    /// The maximum number of requests in transit at once, and of responses.
    under_way: usize,
    /// The keys that the client generates for one token, not counting forgotten ones.
    keys_of_a_token: u8,
    /// The last generation that is explored.
    last_generation: u8,
}

/// The `Idempotency-Key` of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RetryKeys {
    None,
    /// One that was generated when the token was stored.
    PerToken,
    /// One of its own, or that of an earlier request which arrived; after the window only the
    /// latter.
    PerRequest,
    /// One of its own, or that of an earlier request which arrived, at any time.
    PerRequestAtWill,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Store {
    /// The response that arrived last.
    Last,
    /// Only a response that is newer than the stored one.
    Greatest,
}

/// The messages that may be in transit while the window closes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    Nothing,
    Answers,
    Everything,
}

/// Whether the window may close before a client has stored the current token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behind {
    Never,
    /// But not for two generations in a row.
    NowAndThen,
    AtAnyTime,
}

/// The key of a request, distinct from other keys used with the same token.
type Key = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    session: Session,
    stored: Message,
    requests: Vec<Message>,
    /// The generations in responses.
    answers: Vec<u8>,
    /// The generation that the client was last late for.
    behind_at: Option<u8>,
}

/// A token and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Message {
    generation: u8,
    key: Option<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    generation: u8,
    window_is_open: bool,
    /// All of them came with the predecessor.
    keys: Vec<Key>,
    forgiven: Option<u8>,
    reopened: Option<u8>,
}

/// The cause of a session's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    /// A token at least two generations old.
    TooOld,
    /// The predecessor, without the key that would have proved it.
    Unproven,
    /// The predecessor, without keys, where it or the generation before had been forgiven.
    ForgivenBefore,
}

/// Visits every state, and collects how sessions end.
fn endings(rules: Rules) -> BTreeSet<Ending> {
    let first_key = (rules.keys == RetryKeys::PerToken).then_some(0);
    let start = World {
        session: Session::at(0),
        stored: Message { generation: 0, key: first_key },
        requests: Vec::new(),
        answers: Vec::new(),
        behind_at: None,
    };
    let mut endings = BTreeSet::new();
    let mut seen = HashSet::from([start.clone()]);
    let mut next = VecDeque::from([start]);
    while let Some(world) = next.pop_front() {
        let mut visit = |after: World| {
            if !seen.contains(&after) {
                seen.insert(after.clone());
                next.push_back(after);
            }
        };
        world.sends(&rules, &mut visit);
        world.arrives(&rules, &mut visit, &mut endings);
        world.stores(&rules, &mut visit);
        world.waits(&rules, &mut visit);
    }
    endings
}

impl World {
    fn sends(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        let Message { generation, key } = self.stored;
        let is_young = self.requests.iter().any(|request| request.generation < generation);
        if self.requests.len() == rules.under_way || (rules.is_patient && is_young) {
            return;
        }
        let mut send = |key| {
            let mut after = self.clone();
            after.requests.push(Message { generation, key });
            after.requests.sort_unstable();
            visit(after);
        };
        match rules.keys {
            RetryKeys::None | RetryKeys::PerToken => send(key),
            RetryKeys::PerRequest | RetryKeys::PerRequestAtWill => {
                let is_behind =
                    generation < self.session.generation && !self.session.window_is_open;
                if key.is_some() {
                    send(key);
                }
                let may_draw =
                    key.is_none() || !is_behind || rules.keys == RetryKeys::PerRequestAtWill;
                let fresh = self.fresh_key(generation);
                if may_draw && fresh < rules.keys_of_a_token {
                    send(Some(fresh));
                }
            }
        }
    }

    /// A request is answered, or lost.
    fn arrives(&self, rules: &Rules, visit: &mut impl FnMut(Self), endings: &mut BTreeSet<Ending>) {
        for (i, &request) in self.requests.iter().enumerate() {
            let mut lost = self.clone();
            lost.requests.remove(i);
            if self.answers.len() < rules.under_way {
                let mut after = lost.clone();
                match self.session.refreshed(request, rules) {
                    Err(ending) => {
                        endings.insert(ending);
                    }
                    Ok(session) if session.generation > rules.last_generation => {}
                    Ok(session) => {
                        after.answers.push(session.generation);
                        after.answers.sort_unstable();
                        after.session = session;
                        let per_request =
                            !matches!(rules.keys, RetryKeys::None | RetryKeys::PerToken);
                        if per_request && request.generation == self.stored.generation {
                            after.stored.key = request.key;
                        }
                        visit(after);
                    }
                }
            }
            visit(lost);
        }
    }

    /// A response is stored, or lost.
    fn stores(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        for (i, &answer) in self.answers.iter().enumerate() {
            let mut lost = self.clone();
            lost.answers.remove(i);
            let stored = self.stored.generation;
            if answer > stored || (answer < stored && rules.store == Store::Last) {
                let mut after = lost.clone();
                let key = (rules.keys == RetryKeys::PerToken).then(|| lost.fresh_key(answer));
                after.stored = Message { generation: answer, key };
                visit(after);
            }
            visit(lost);
        }
    }

    /// The window closes.
    fn waits(&self, rules: &Rules, visit: &mut impl FnMut(Self)) {
        let nothing_too_late = match rules.late {
            Late::Nothing => self.requests.is_empty() && self.answers.is_empty(),
            Late::Answers => self.requests.is_empty(),
            Late::Everything => true,
        };
        if !self.session.window_is_open || !nothing_too_late {
            return;
        }
        let current = self.session.generation;
        let mut after = self.clone();
        after.session.window_is_open = false;
        if self.stored.generation < current {
            match rules.behind {
                Behind::Never => return,
                Behind::NowAndThen if self.behind_at.is_some_and(|at| current < at + 2) => return,
                Behind::NowAndThen => after.behind_at = Some(current),
                Behind::AtAnyTime => {}
            }
        }
        visit(after);
    }

    /// A key that was not yet used with this token, as a random one would be.
    fn fresh_key(&self, generation: u8) -> Key {
        let is_taken = |key: &Key| {
            let message = Message { generation, key: Some(*key) };
            let at_server = generation + 1 == self.session.generation;
            self.stored == message
                || self.requests.contains(&message)
                || (at_server && self.session.keys.contains(key))
        };
        (0..=Key::MAX).find(|key| !is_taken(key)).unwrap()
    }
}

impl Session {
    fn at(generation: u8) -> Self {
        let (keys, forgiven, reopened) = (Vec::new(), None, None);
        Self { generation, window_is_open: false, keys, forgiven, reopened }
    }

    /// Applies a request to the session, by the rule itself. The response is the resulting
    /// generation.
    fn refreshed(&self, request: Message, rules: &Rules) -> Result<Self, Ending> {
        let hash = |key: Key| KeyHash::of(&[request.generation, key]);
        let parent_hash = |key: Key| KeyHash::of(&[self.generation.wrapping_sub(1), key]);
        let state = SessionState {
            generation: self.generation.into(),
            rotated_at: (self.generation > 0).then_some(ROTATED),
            retry_keys: self.keys.iter().copied().map(parent_hash).collect(),
            forgiven_generation: self.forgiven.map(u32::from),
            reopened_generation: self.reopened.map(u32::from),
            ended: None,
            expires_at: FAR,
            ends_at: FAR,
        };
        let now = if self.window_is_open { ROTATED } else { ROTATED.plus(rules.window) };
        let key = request.key.map(hash);
        let mut after = self.clone();
        match decide(&state, request.generation.into(), key, now, rules.window) {
            Decision::RepeatAnswer | Decision::RepeatProvenRetry => {}
            Decision::RepeatAnswerAndRemember(keys) => {
                assert_eq!(keys.split_last(), Some((&key.unwrap(), &*state.retry_keys)));
                after.keys.extend(request.key);
                after.keys.sort_unstable();
            }
            Decision::ProvenRetry => {
                after.window_is_open = true;
                after.reopened = Some(self.generation);
            }
            Decision::ForgiveLostAnswer => {
                after.window_is_open = true;
                after.forgiven = Some(self.generation);
            }
            Decision::Rotate { to, keys, fast_forward } => {
                assert!(!fast_forward, "no token is newer than the session");
                assert_eq!(to, u32::from(self.generation) + 1, "there is one lineage");
                after.generation += 1;
                after.window_is_open = true;
                after.keys = if keys.is_empty() { Vec::new() } else { Vec::from_iter(request.key) };
            }
            Decision::Reuse => {
                return Err(if request.generation + 1 < self.generation {
                    Ending::TooOld
                } else if self.forgiven.is_some() && self.keys.is_empty() {
                    Ending::ForgivenBefore
                } else {
                    Ending::Unproven
                });
            }
            step @ (Decision::Ended(_) | Decision::Expired) => {
                panic!("a live session was {step:?}")
            }
        }
        Ok(after)
    }
}
const BOTH: [Store; 2] = [Store::Last, Store::Greatest];

impl Rules {
    /// A client that returns in time, over a network that is fast enough.
    fn of(keys: RetryKeys, store: Store) -> Self {
        let (keys_of_a_token, last_generation) =
            if matches!(keys, RetryKeys::None | RetryKeys::PerToken) { (1, 5) } else { (3, 2) };
        Self {
            keys,
            store,
            late: Late::Nothing,
            behind: Behind::Never,
            is_patient: false,
            window: WINDOW,
            under_way: 3,
            keys_of_a_token,
            last_generation,
        }
    }

    /// With fewer messages, because there are many more states.
    fn late(self, late: Late) -> Self {
        let last_generation = self.last_generation.min(3);
        Self { late, under_way: 2, last_generation, ..self }
    }

    fn behind(self, behind: Behind) -> Self {
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
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest).behind(Behind::AtAnyTime);
    assert_eq!(endings(rules.patient()), [].into());
}

#[test]
fn a_late_client_that_refreshes_its_fresh_token_at_once_or_stores_an_older_one_may_be_logged_out() {
    let hasty = Rules::of(RetryKeys::PerToken, Store::Greatest).behind(Behind::AtAnyTime);
    assert_eq!(endings(hasty), [Ending::TooOld].into());
    let last = Rules::of(RetryKeys::PerToken, Store::Last).behind(Behind::AtAnyTime).patient();
    assert_eq!(endings(last), [Ending::Unproven].into());
}

#[test]
fn a_client_without_keys_survives_a_lost_answer_at_any_time_but_not_two_in_a_row() {
    for store in BOTH {
        let rules = Rules::of(RetryKeys::None, store);
        assert_eq!(endings(rules.behind(Behind::NowAndThen)), [].into(), "{rules:?}");
        let often = rules.behind(Behind::AtAnyTime);
        assert_eq!(endings(often), [Ending::ForgivenBefore].into(), "{rules:?}");
    }
}

#[test]
fn a_key_for_each_request_must_be_sent_again_by_a_client_that_comes_back_later() {
    let later = |keys| Rules::of(keys, Store::Greatest).behind(Behind::AtAnyTime).patient();
    assert_eq!(endings(later(RetryKeys::PerRequest)), [].into());
    assert_eq!(endings(later(RetryKeys::PerRequestAtWill)), [Ending::Unproven].into());
}

#[test]
fn four_keys_of_a_token_are_remembered_and_the_fifth_proves_nothing() {
    let rules = Rules::of(RetryKeys::PerRequest, Store::Greatest).behind(Behind::AtAnyTime);
    let with = |keys_of_a_token| endings(Rules { keys_of_a_token, under_way: 1, ..rules });
    assert_eq!(with(4), [].into());
    assert_eq!(with(5), [Ending::Unproven].into());
}

#[test]
fn late_answers_do_no_harm_to_a_client_that_stores_no_older_token_over_a_newer() {
    for keys in [RetryKeys::None, RetryKeys::PerToken, RetryKeys::PerRequestAtWill] {
        let greatest = Rules::of(keys, Store::Greatest).late(Late::Answers);
        assert_eq!(endings(greatest), [].into(), "{greatest:?}");
    }
    for keys in [RetryKeys::None, RetryKeys::PerToken] {
        let last = Rules { last_generation: 4, ..Rules::of(keys, Store::Last).late(Late::Answers) };
        assert!(endings(last).contains(&Ending::TooOld), "{last:?}");
    }
}

#[test]
fn a_late_answer_to_a_client_that_came_back_later_may_leave_a_request_two_generations_behind() {
    let rules = Rules::of(RetryKeys::PerToken, Store::Greatest).late(Late::Answers);
    assert_eq!(endings(rules.behind(Behind::AtAnyTime)), [Ending::TooOld].into());
}

#[test]
fn a_request_two_generations_late_ends_a_session_with_every_key() {
    for store in BOTH {
        for keys in [RetryKeys::None, RetryKeys::PerToken, RetryKeys::PerRequest] {
            let rules = Rules::of(keys, store).late(Late::Everything);
            assert!(endings(rules).contains(&Ending::TooOld), "{rules:?}");
        }
    }
    let best = Rules::of(RetryKeys::PerToken, Store::Greatest).late(Late::Everything);
    assert_eq!(endings(best.behind(Behind::AtAnyTime)), [Ending::TooOld].into());
}

#[test]
fn strict_mode_suits_a_client_with_keys_and_one_request_at_a_time() {
    for store in BOTH {
        let rules = Rules::of(RetryKeys::PerToken, store).behind(Behind::AtAnyTime).strict();
        assert_eq!(endings(Rules { under_way: 1, ..rules }), [].into(), "{store:?}");
        assert!(endings(Rules { under_way: 2, ..rules }).contains(&Ending::TooOld), "{store:?}");
        let rules = Rules { keys: RetryKeys::None, under_way: 1, ..rules };
        assert_eq!(endings(rules), [Ending::Unproven].into(), "{store:?}");
    }
}
