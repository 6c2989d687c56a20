//! Random walks: with tabs, a slow network, a thief and restarts, every response of the service
//! follows the decision table of refresh tokens.
//!
//! The table is implemented here once more, from its text and not from its code
//! (`sessions/rotation.rs`). A walk takes one session through the steps that the rotation model
//! explores, over HTTP, and compares each response with it: kind, generation, reason. Two
//! concurrent requests may be processed in either order; both results stay possible until a
//! response distinguishes them.
//!
//! Every other walk is that of a careful client: a key for each token, no older token stored over a
//! newer, no request in transit for longer than the window, and without a window a single request
//! at a time. It has every fault except thieves, and no reuse is ever detected.
//!
//! `DOORWARD_TEST_WALKS` sets the number; `DOORWARD_TEST_SEED` repeats a failed one.

mod dice;
mod events;
mod requests;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use doorward::clock::Timestamp;

use crate::support::Tokens;
use crate::support::app::TestApp;
use crate::support::client::PASSWORD;
use crate::support::postgres::{number_of, on_postgres};

use dice::SeededRandom;
use table::Session;

/// Walks of one round of tests in each mode, unless `DOORWARD_TEST_WALKS` is set.
const WALKS: u64 = 60;

/// Steps of a walk; it ends earlier when its session does.
const STEPS: usize = 60;

const SLIDING: Duration = Duration::from_secs(3600);
const ABSOLUTE: Duration = Duration::from_secs(3 * 3600);

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
        let told = SeedOnFailure(seed);
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

/// Prints the walk's seed when it fails.
struct SeedOnFailure(u64);

impl Drop for SeedOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: DOORWARD_TEST_WALKS=1 DOORWARD_TEST_SEED={}", self.0);
        }
    }
}

/// A request in transit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Message {
    generation: u64,
    key: Option<u64>,
    by_thief: bool,
}

/// One session, and all its users.
struct Walk {
    nodes: Vec<TestApp>,
    window: Duration,
    dice: SeededRandom,
    is_careful: bool,
    has_no_keys: bool,
    /// The possible states: more than one after two concurrent requests.
    may_be: Vec<Session>,
    /// All tokens, by generation: their holders may send them.
    tokens: Vec<String>,
    access: String,
    /// The tokens and keys of the tabs and of the thief.
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
            dice: SeededRandom(seed),
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
            // Only the response was lost, or the network has sent the request twice.
            50..55 => self.deliver(true).await,
            55..60 => self.deliver_two().await,
            60..72 => self.store(),
            72..84 => self.wait(),
            95 if !self.is_careful => {
                // The thief copies the tokens of the tabs.
                self.held[1] = (self.held[0].0, None);
                self.log.push("theft".into());
            }
            95..98 => self.look_at_access().await,
            98 => self.restart().await,
            _ => self.log_out().await,
        }
    }

    /// Whether only rejections are possible.
    fn is_over(&self) -> bool {
        let now = self.now();
        self.may_be.iter().all(|it| it.ended.is_some() || now >= it.expires_at)
    }

    fn now(&self) -> Timestamp {
        self.nodes[0].clock.now()
    }

    /// The refreshes counted by all nodes.
    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (kind, count) in self.nodes.iter().flat_map(crate::support::refresh_counts) {
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
