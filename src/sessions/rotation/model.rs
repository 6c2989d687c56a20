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

mod properties;
mod session;
mod thief;
mod world;

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::*;

use session::{Ending, Session};
use world::{Key, Message, World};

const WINDOW: Duration = Duration::from_secs(30);
const ROTATED: Timestamp = Timestamp::from_unix_seconds(1_000_000);
const FAR: Timestamp = Timestamp::from_unix_seconds(2_000_000);

/// The behaviour of the client and of the network.
#[derive(Clone, Copy, Debug)]
struct Rules {
    keys: RetryKeys,
    store: Store,
    late: LateMessages,
    behind: LateReturn,
    /// Whether the client waits with a fresh token until no request with an older one is in
    /// transit, like one that refreshes no token younger than the window.
    is_patient: bool,
    window: Duration,
    /// The maximum number of requests in transit, and of responses.
    in_transit: usize,
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
enum LateMessages {
    Nothing,
    Answers,
    Everything,
}

/// Whether the window may close before a client has stored the current token.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LateReturn {
    Never,
    /// But not for two generations in a row.
    NotTwiceInARow,
    AtAnyTime,
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

impl Rules {
    /// A client that returns in time, over a network that is fast enough.
    fn of(keys: RetryKeys, store: Store) -> Self {
        let (keys_of_a_token, last_generation) =
            if matches!(keys, RetryKeys::None | RetryKeys::PerToken) { (1, 5) } else { (3, 2) };
        Self {
            keys,
            store,
            late: LateMessages::Nothing,
            behind: LateReturn::Never,
            is_patient: false,
            window: WINDOW,
            in_transit: 3,
            keys_of_a_token,
            last_generation,
        }
    }
}
