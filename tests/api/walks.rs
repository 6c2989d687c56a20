//! Random walks: whatever tabs, a slow network, a thief and restarts do to a session, the service
//! answers what the table of refresh tokens says.
//!
//! The table stands here once more, written from its text and not from its code
//! (`sessions/rotation.rs`). A walk takes one session through the steps that the model of the
//! rotation explores, over HTTP, and compares each answer with it: kind, generation, reason. Two
//! requests at once may come in either order; what both orders allow is remembered until an answer
//! tells them apart.
//!
//! Every other walk is that of a careful client: a key beside each token, no older token stored
//! over a newer, nothing under way for longer than the window, and without one a single request at
//! a time. It meets every fault but thieves, and no reuse is ever seen.
//!
//! `DOORWARD_TEST_WALKS` says how many; `DOORWARD_TEST_SEED` repeats what a failure has printed.

use std::collections::BTreeMap;
use std::time::Duration;

use doorward::clock::Timestamp;
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::client::PASSWORD;
use crate::support::postgres::{number_of, on_postgres};
use crate::support::{Answer, Tokens, until};

/// Walks of one round of tests in each mode, unless `DOORWARD_TEST_WALKS` says otherwise.
const WALKS: u64 = 60;

/// Steps of a walk; it ends earlier when its session does.
const STEPS: usize = 60;

const SLIDING: Duration = Duration::from_secs(3600);
const ABSOLUTE: Duration = Duration::from_secs(3 * 3600);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Keys of a rotation that are remembered.
const KEYS: usize = 4;

#[tokio::test]
async fn every_walk_is_answered_as_the_table_says() {
    Box::pin(walk(Duration::from_secs(30))).await;
}

#[tokio::test]
async fn every_walk_in_strict_mode_is_answered_as_the_table_says() {
    Box::pin(walk(Duration::ZERO)).await;
}

async fn walk(window: Duration) {
    let app = TestApp::with(|config| {
        config.sessions.retry_window = window;
        config.sessions.idle_timeout = SLIDING;
        config.sessions.absolute_timeout = ABSOLUTE;
    })
    .await;
    let mut nodes = Vec::new();
    if on_postgres() {
        nodes.push(app.another_node().await);
    }
    nodes.push(app);
    nodes[0].register("walker@example.com", PASSWORD).await.assert_status(201);
    let first =
        number_of("DOORWARD_TEST_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in
        (0..number_of("DOORWARD_TEST_WALKS").unwrap_or(WALKS)).map(|n| first.wrapping_add(n))
    {
        let told = Told(seed);
        let mut walk = Walk::begin(nodes, window, seed).await;
        let (mut steps, mut after_the_end) = (0, 0);
        while steps < STEPS && after_the_end < 4 {
            walk.step().await;
            steps += 1;
            after_the_end += usize::from(walk.is_over());
        }
        for (kind, count) in walk.kinds {
            *seen.entry(kind).or_default() += count;
        }
        nodes = walk.nodes;
        drop(told);
    }
    println!("window {window:?}: {seen:?}");
    assert!(!seen.contains_key("failed"));
}

/// Says which walk it was when it fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: DOORWARD_TEST_WALKS=1 DOORWARD_TEST_SEED={}", self.0);
        }
    }
}

/// What the service knows of a session, as far as the table asks.
#[derive(Clone, Debug, PartialEq)]
struct Session {
    generation: u64,
    opened_at: Option<Timestamp>,
    keys: Vec<u64>,
    forgiven: Option<u64>,
    reopened: Option<u64>,
    ended: Option<&'static str>,
    expires_at: Timestamp,
    ends_at: Timestamp,
}

/// The kind of an answer as the metrics name it, and what it says: a generation, or a reason.
type Said = (&'static str, Result<u64, String>);

impl Session {
    /// The table, from the top.
    fn asked(&mut self, message: Message, now: Timestamp, window: Duration) -> Said {
        let Message { generation, key, .. } = message;
        let refused = |kind, reason: &str| (kind, Err(reason.to_owned()));
        if let Some(reason) = self.ended {
            return refused("ended", reason);
        }
        if now >= self.expires_at || now >= self.ends_at {
            return refused("expired", "expired");
        }
        let (is_current, is_parent) =
            (generation == self.generation, generation + 1 == self.generation);
        let is_open = self.opened_at.is_some_and(|opened| now < opened.plus(window));
        if is_open && (is_current || is_parent) {
            let is_new = key.is_some_and(|key| !self.keys.contains(&key));
            if is_parent && is_new && self.keys.len() < KEYS {
                self.keys.extend(key);
            }
            return ("concurrent_replay", Ok(self.generation));
        }
        let kind = if is_current {
            self.generation += 1;
            self.keys = key.into_iter().filter(|key| !self.keys.contains(key)).collect();
            "rotated"
        } else if is_parent && key.is_some_and(|key| self.keys.contains(&key)) {
            let current = Some(self.generation);
            if self.reopened == current || self.forgiven == current {
                return ("proven_retry", Ok(self.generation));
            }
            self.reopened = current;
            "proven_retry"
        } else if is_parent && !window.is_zero() && self.keys.is_empty() && !self.was_forgiven() {
            self.forgiven = Some(self.generation);
            "forgiven"
        } else {
            self.ended = Some("refresh_token_reused");
            return refused("reuse_ended", "refresh_token_reused");
        };
        self.opened_at = Some(now);
        self.expires_at = self.ends_at.min(now.plus(SLIDING).max(self.expires_at));
        (kind, Ok(self.generation))
    }

    /// This generation or the one before.
    fn was_forgiven(&self) -> bool {
        self.forgiven.is_some_and(|it| it == self.generation || it + 1 == self.generation)
    }
}

/// A request that is under way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Message {
    generation: u64,
    key: Option<u64>,
    by_thief: bool,
}

/// One session, and all who use it.
struct Walk {
    nodes: Vec<TestApp>,
    window: Duration,
    dice: Dice,
    is_careful: bool,
    has_no_keys: bool,
    /// What may be the case: more than one thing after two requests at once.
    may_be: Vec<Session>,
    /// Every token that there was, by generation: whoever has one may send it.
    tokens: Vec<String>,
    access: String,
    /// What the tabs have stored, and what the thief has: the token and the key beside it.
    held: [(u64, Option<u64>); 2],
    requests: Vec<Message>,
    answers: Vec<(u64, bool)>,
    next_key: u64,
    kinds: BTreeMap<&'static str, u64>,
    log: Vec<String>,
}

impl Walk {
    async fn begin(nodes: Vec<TestApp>, window: Duration, seed: u64) -> Self {
        let app = &nodes[0];
        let tokens = app.log_in("walker@example.com", PASSWORD).await.tokens();
        let now = app.clock.now();
        let session = Session {
            generation: 0,
            opened_at: None,
            keys: Vec::new(),
            forgiven: None,
            reopened: None,
            ended: None,
            expires_at: now.plus(SLIDING),
            ends_at: now.plus(ABSOLUTE),
        };
        let Tokens { access, refresh, .. } = tokens;
        Self {
            nodes,
            window,
            dice: Dice(seed),
            is_careful: seed.is_multiple_of(2),
            has_no_keys: seed % 4 == 1,
            may_be: vec![session],
            tokens: vec![refresh],
            access,
            held: [(0, Some(0)); 2],
            requests: Vec::new(),
            answers: Vec::new(),
            next_key: 0,
            kinds: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..25 | 84..95 => self.send(),
            25..50 => self.deliver(false).await,
            // Nothing was lost but the answer, or the network has sent it twice.
            50..55 => self.deliver(true).await,
            55..60 => self.deliver_two().await,
            60..72 => self.store(),
            72..84 => self.wait(),
            95 if !self.is_careful => {
                // The thief copies what the tabs have.
                self.held[1] = (self.held[0].0, None);
                self.log.push("theft".into());
            }
            95..98 => self.look_at_access().await,
            98 => self.restart().await,
            _ => self.log_out().await,
        }
    }

    /// Whether nothing but refusals can come.
    fn is_over(&self) -> bool {
        let now = self.now();
        self.may_be.iter().all(|it| it.ended.is_some() || now >= it.expires_at)
    }

    fn send(&mut self) {
        let is_busy = !self.requests.is_empty() || !self.answers.is_empty();
        if self.is_careful && self.window.is_zero() && is_busy {
            return;
        }
        let by_thief = !self.is_careful && self.dice.below(6) == 0;
        let (generation, stored_key) = self.held[usize::from(by_thief)];
        // Nothing is under way for longer than the window, in which no fresh token is refreshed.
        if self.is_careful && self.requests.iter().any(|it| it.generation < generation) {
            return;
        }
        let key = match self.dice.below(4) {
            _ if self.is_careful => stored_key,
            _ if self.has_no_keys => None,
            0 => None,
            1 => {
                self.next_key += 1;
                Some(self.next_key)
            }
            _ => stored_key,
        };
        self.requests.push(Message { generation, key, by_thief });
    }

    async fn deliver(&mut self, again: bool) {
        let Some(at) = self.dice.index(self.requests.len()) else { return };
        let message = if again { self.requests[at] } else { self.requests.swap_remove(at) };
        let node = self.dice.below(self.nodes.len());
        let before = self.counts();
        let answer = self.ask(message, node).await;
        let kinds = self.counted_since(&before);
        let now = self.now();
        let said = self.hear(message, &answer);
        let mut can_be = Vec::new();
        let mut expected = Vec::new();
        for mut session in std::mem::take(&mut self.may_be) {
            let table = session.asked(message, now, self.window);
            if kinds == [table.0] && said == table.1 {
                can_be.push(session);
            }
            expected.push(table);
        }
        self.settle(can_be, &format!("{message:?}: {kinds:?} {said:?}"), &format!("{expected:?}"));
    }

    /// Two requests at once: one of the two orders it was.
    async fn deliver_two(&mut self) {
        if self.requests.len() < 2 {
            return;
        }
        let at = self.dice.below(self.requests.len());
        let one = self.requests.swap_remove(at);
        let at = self.dice.below(self.requests.len());
        let other = self.requests.swap_remove(at);
        let nodes = [self.dice.below(self.nodes.len()), self.dice.below(self.nodes.len())];
        let before = self.counts();
        let (first, second) = tokio::join!(self.ask(one, nodes[0]), self.ask(other, nodes[1]));
        let kinds = self.counted_since(&before);
        let now = self.now();
        let said = [self.hear(one, &first), self.hear(other, &second)];
        let mut can_be = Vec::new();
        let mut expected = Vec::new();
        for session in std::mem::take(&mut self.may_be) {
            for one_first in [true, false] {
                let mut session = session.clone();
                let mut ask = |message| session.asked(message, now, self.window);
                let (one, other) = if one_first {
                    let one = ask(one);
                    (one, ask(other))
                } else {
                    let other = ask(other);
                    (ask(one), other)
                };
                let mut table = [one.0, other.0];
                table.sort_unstable();
                if kinds == table && said == [one.1.clone(), other.1.clone()] {
                    can_be.push(session);
                }
                expected.push((one, other));
            }
        }
        can_be.dedup();
        let what = format!("at once {one:?}, {other:?}: {kinds:?} {said:?}");
        self.settle(can_be, &what, &format!("{expected:?}"));
    }

    fn settle(&mut self, can_be: Vec<Session>, what: &str, expected: &str) {
        self.log.push(what.to_owned());
        assert!(
            !can_be.is_empty(),
            "the table says {expected}; the walk:\n{}",
            self.log.join("\n")
        );
        self.may_be = can_be;
        let is_theft = self.may_be.iter().any(|it| it.ended == Some("refresh_token_reused"));
        assert!(!(self.is_careful && is_theft), "an honest end:\n{}", self.log.join("\n"));
    }

    async fn ask(&self, message: Message, node: usize) -> Answer {
        let token = &self.tokens[usize::try_from(message.generation).unwrap()];
        let call = self.nodes[node].post("/refresh").json(&json!({ "refresh_token": token }));
        match message.key {
            Some(key) => call.header("idempotency-key", &format!("key-of-a-walk-{key:06}")),
            None => call,
        }
        .send()
        .await
    }

    /// What an answer says; its tokens go on their way to whoever asked.
    fn hear(&mut self, message: Message, answer: &Answer) -> Result<u64, String> {
        // The key of a request that arrived is the one to send again.
        let held = &mut self.held[usize::from(message.by_thief)];
        if held.0 == message.generation && message.key.is_some() {
            held.1 = message.key;
        }
        if answer.status != 200 {
            let answer = answer.clone().assert_problem(401, "invalid_grant");
            return Err(answer.body["reason"].as_str().unwrap().to_owned());
        }
        let Tokens { generation, refresh, access, .. } = answer.clone().tokens();
        let at = usize::try_from(generation).unwrap();
        match self.tokens.get(at) {
            Some(known) => assert_eq!(*known, refresh, "a generation has one token"),
            None => self.tokens.push(refresh),
        }
        assert!(
            self.tokens.len() > at,
            "generation {generation} comes after {}",
            self.tokens.len()
        );
        self.access = access;
        self.answers.push((generation, message.by_thief));
        Ok(generation)
    }

    /// An answer arrives, early or late, or never.
    fn store(&mut self) {
        let Some(at) = self.dice.index(self.answers.len()) else { return };
        let (generation, by_thief) = self.answers.swap_remove(at);
        let held = &mut self.held[usize::from(by_thief)];
        let is_lost = self.dice.below(5) == 0;
        // Now and then a tab stores an older token over a newer one.
        let may_be_older = !self.is_careful && self.dice.below(8) == 0;
        if !is_lost && (generation > held.0 || may_be_older) {
            self.next_key += 1;
            let has_key = self.is_careful || self.dice.below(2) == 0;
            let key = has_key.then_some(self.next_key);
            *held = (generation, key);
        }
    }

    fn wait(&mut self) {
        if self.is_careful || self.dice.below(2) == 0 {
            // Nothing comes so late.
            self.requests.clear();
            self.answers.clear();
        }
        let now = self.now();
        let session = &self.may_be[0];
        let until = |moment: Timestamp| moment.since(now);
        let window_ends =
            session.opened_at.map_or(Duration::ZERO, |it| until(it.plus(self.window)));
        let by = match self.dice.below(12) {
            0 => MICROSECOND,
            1 => Duration::from_secs(1),
            2 | 3 => window_ends,
            4 => window_ends.saturating_sub(MICROSECOND),
            5..8 => self.window + MICROSECOND,
            8 => Duration::from_secs(300),
            9 => Duration::from_secs(1200),
            10 if self.dice.below(4) == 0 => until(session.expires_at),
            11 if self.dice.below(4) == 0 => until(session.expires_at).saturating_sub(MICROSECOND),
            _ => self.window / 2,
        };
        self.nodes[0].clock.advance(by);
        self.log.push(format!("{by:?} go by"));
    }

    /// An access token falls with its session, on every node.
    async fn look_at_access(&mut self) {
        if self.may_be.len() > 1 {
            return;
        }
        let ended = self.may_be[0].ended.is_some();
        for node in &self.nodes {
            let refused = async || match node.me(&self.access).await.body["code"].as_str() {
                // It has lived its time; whether it was revoked is not asked then.
                Some("token_expired") => ended,
                code => code == Some("token_revoked"),
            };
            if ended {
                // Another node hears of it within a second.
                until(&refused).await;
            } else {
                assert!(!refused().await, "{}", self.log.join("\n"));
            }
        }
    }

    async fn restart(&mut self) {
        // It takes some time, so not in every walk.
        if self.dice.below(4) == 0 {
            let at = self.dice.below(self.nodes.len());
            let node = self.nodes.swap_remove(at).restart().await;
            self.nodes.push(node);
            self.log.push("a restart".into());
        }
    }

    async fn log_out(&mut self) {
        if self.may_be.len() > 1 || self.dice.below(2) == 0 {
            return;
        }
        let answer = self.nodes[0].post("/logout").bearer(&self.access).send().await;
        if answer.status == 204 && self.may_be[0].ended.is_none() {
            self.may_be[0].ended = Some("logout");
        }
        self.log.push(format!("a logout: {}", answer.status));
    }

    fn now(&self) -> Timestamp {
        self.nodes[0].clock.now()
    }

    /// What all nodes have counted of refreshes.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (kind, count) in self.nodes.iter().flat_map(|it| it.api.sessions.refreshes().counts()) {
            *all.entry(kind).or_default() += count;
        }
        all
    }

    fn counted_since(&mut self, before: &BTreeMap<&'static str, u64>) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        for (kind, count) in self.counts() {
            let more = count - before.get(kind).copied().unwrap_or(0);
            kinds.extend((0..more).map(|_| kind));
            if more > 0 {
                *self.kinds.entry(kind).or_default() += more;
            }
        }
        kinds
    }
}

/// Numbers that a seed repeats (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit.max(1) as u64).unwrap()
    }

    fn index(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| self.below(length))
    }
}
