//! The budget of failed logins: how many wrong passwords an account takes, from one place and from
//! all of them.
//!
//! A client network is a place. So is a session, for those who show its tokens: those who hold its
//! newest refresh tokens have another budget there than those who hold spent ones, and than those
//! who hold an access token. A thief with a spent token can use up only the budget of spent tokens.
//!
//! A place in the budget is taken before the password is hashed, so that a hundred guesses at once
//! count as a hundred, and it is given back unless a password was compared and wrong. A budget
//! refills evenly over its window.
//!
//! A counter is one moment: when its budget will be whole again. Taking a place moves it by a share
//! of the window, and there is a place as long as it is not a whole window ahead (the generic cell
//! rate algorithm, ITU-T I.371).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::locks::lock;
use crate::secret::DerivedKey;
use crate::sessions::DeviceToken;

/// Wrong passwords that an account takes within the window from all who show a refresh token of it,
/// and from all who show an access token. It bounds what somebody can guess who has the tokens of
/// many sessions; the number is NIST's for an account (SP 800-63B-4 3.2.2).
const FAILURES_PER_TOKEN_KIND: u32 = 100;

/// The settings of the budget. It is this node's own: with n nodes, guesses spread over them count
/// n times.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSettings {
    /// Wrong passwords for one account from one place.
    pub per_source: u32,
    /// Wrong passwords for one account from everywhere.
    pub per_account: u32,
    /// The time over which a spent budget is whole again.
    pub window: Duration,
    /// Counters that are kept; beyond it the lowest are forgotten.
    pub max_counters: usize,
}

/// Where an attempt comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottleKey {
    /// A client's network.
    Network(String),
    /// A device that has shown a refresh token of the account: by its session, and by whether that is
    /// one of the session's newest.
    Device(Uuid, DeviceToken),
    /// A user who is logged in, and has shown an access token of this session.
    Session(Uuid),
}

/// The counters. Shared by all requests of a node.
#[derive(Debug)]
pub struct LoginThrottle {
    key: DerivedKey,
    settings: ThrottleSettings,
    clock: Clock,
    counters: Counters,
}

type Counters = Arc<Mutex<HashMap<CounterId, Counter>>>;

/// A keyed hash: the table tells nobody whose accounts are under attack.
type CounterId = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Counter {
    /// When the budget will be whole again.
    full_at: Timestamp,
    /// Places of it that are taken by attempts still being made.
    in_flight: u32,
}

/// What came of asking for a place.
#[derive(Debug)]
pub enum ReserveOutcome {
    /// There was one.
    Granted(Reservation),
    /// There is none as long as other attempts are being made, which may give theirs back.
    Busy {
        /// Whether it is the account's budget that they hold, and not the origin's.
        account: bool,
    },
    /// There was none.
    Throttled {
        /// How long until there is one: whole seconds, one at least.
        retry_after: Duration,
        /// Whether it was the account's budget that was spent, and not the origin's.
        account: bool,
    },
}

/// A place in the budget. It stays taken unless it is given back.
#[derive(Debug)]
pub struct Reservation {
    counters: Counters,
    shares: Vec<Share>,
    is_released: bool,
}

/// What an attempt takes of one counter.
#[derive(Clone, Copy, Debug)]
struct Share {
    id: CounterId,
    /// A part of the window.
    cost: Duration,
    /// Whether it is the counter of the whole account.
    is_account_wide: bool,
}

impl LoginThrottle {
    /// An unspent budget.
    #[must_use]
    pub fn new(key: DerivedKey, settings: ThrottleSettings, clock: Clock) -> Self {
        Self { key, settings, clock, counters: Arc::default() }
    }

    /// Takes a place for an attempt by a stranger.
    #[must_use]
    pub fn reserve(&self, email_key: &str, source: &ThrottleKey) -> ReserveOutcome {
        self.reserve_shares(email_key, source, true)
    }

    /// Takes a place for an attempt by somebody who is known: it counts for the account as long as
    /// that has something left, and is not refused when strangers have spent it.
    #[must_use]
    pub fn reserve_known(&self, email_key: &str, source: &ThrottleKey) -> ReserveOutcome {
        self.reserve_shares(email_key, source, false)
    }

    /// How many counters there are.
    #[must_use]
    pub fn in_use(&self) -> usize {
        lock(&self.counters).len()
    }

    /// Forgets the counters whose budgets are whole again; to be called now and then.
    pub fn sweep(&self) {
        let now = self.clock.steady();
        let mut counters = lock(&self.counters);
        counters.retain(|_, counter| counter.is_active(now));
        counters.shrink_to_fit();
    }

    fn reserve_shares(
        &self,
        email_key: &str,
        source: &ThrottleKey,
        is_stranger: bool,
    ) -> ReserveOutcome {
        let now = self.clock.steady();
        let window = self.settings.window;
        let mut shares = self.shares(email_key, source);
        let mut counters = lock(&self.counters);
        if counters.len() + shares.len() > self.settings.max_counters {
            evict_counters(&mut counters, now);
        }
        let mut moved = Vec::with_capacity(shares.len());
        for Share { id, cost, is_account_wide } in &shares {
            let before =
                counters.get(id).copied().unwrap_or(Counter { full_at: now, in_flight: 0 });
            let full_at = before.full_at.max(now).plus(*cost);
            let missing = full_at.since(now).saturating_sub(window);
            if missing.is_zero() {
                moved.push((*id, Counter { full_at, in_flight: before.in_flight + 1 }));
            } else if is_stranger || !*is_account_wide {
                // Of the account's counter the known take nothing once it is used up.
                return refusal(missing, *cost * before.in_flight, *is_account_wide);
            }
        }
        shares.truncate(moved.len());
        counters.extend(moved);
        let counters = Arc::clone(&self.counters);
        ReserveOutcome::Granted(Reservation { counters, shares, is_released: false })
    }

    /// What an attempt takes, the account's share last.
    fn shares(&self, email_key: &str, source: &ThrottleKey) -> Vec<Share> {
        let (source, of_all) = match source {
            ThrottleKey::Network(network) => (format!("address {network}"), None),
            ThrottleKey::Device(session, DeviceToken::Newest) => {
                (format!("device {session}"), Some("devices"))
            }
            ThrottleKey::Device(session, DeviceToken::Spent) => {
                (format!("spent device {session}"), Some("devices"))
            }
            ThrottleKey::Session(session) => (format!("session {session}"), Some("sessions")),
        };
        let share = |counter: &str, attempts: u32, is_account_wide| {
            // An e-mail may hold anything, an origin no NUL: no two pairs read the same.
            let mac = self.key.mac(format!("{counter}\0{email_key}").as_bytes());
            let id = std::array::from_fn(|i| mac[i]);
            Share { id, cost: self.settings.window / attempts.max(1), is_account_wide }
        };
        let mut shares = vec![share(&source, self.settings.per_source, false)];
        shares.extend(of_all.map(|all| share(all, FAILURES_PER_TOKEN_KIND, false)));
        shares.push(share("account", self.settings.per_account, true));
        shares
    }
}

impl Counter {
    fn is_active(&self, now: Timestamp) -> bool {
        self.full_at > now || self.in_flight > 0
    }
}

/// The refusal of an attempt for which `missing` is not there, of which attempts that are still being
/// made may give back `in_flight`.
fn refusal(missing: Duration, in_flight: Duration, account: bool) -> ReserveOutcome {
    if missing <= in_flight {
        return ReserveOutcome::Busy { account };
    }
    let started = u64::from(missing.subsec_nanos() > 0);
    ReserveOutcome::Throttled {
        retry_after: Duration::from_secs(missing.as_secs() + started),
        account,
    }
}

impl Reservation {
    /// Returns the place: no password was compared, or it was right.
    pub fn release(mut self) {
        self.is_released = true;
    }

    /// Whether the place is returned when it is dropped. It stays taken until then, for an attempt
    /// that may have to compare the password again.
    pub const fn release_on_drop(&mut self, is_released: bool) {
        self.is_released = is_released;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut counters = lock(&self.counters);
        for Share { id, cost, .. } in &self.shares {
            if let Some(counter) = counters.get_mut(id) {
                counter.in_flight = counter.in_flight.saturating_sub(1);
                if self.is_released {
                    counter.full_at = counter.full_at.minus(*cost);
                }
            }
        }
    }
}

/// Forgets what is whole again and, when that is not a quarter, the lower half of the rest: a flood
/// of one guess each on ever new accounts must not push out an account that is under attack.
fn evict_counters(counters: &mut HashMap<CounterId, Counter>, now: Timestamp) {
    let before = counters.len();
    counters.retain(|_, counter| counter.is_active(now));
    if counters.len() > before / 4 * 3 {
        // The id decides between equals: a flood within one moment must not empty the table.
        let mut all: Vec<_> = counters.iter().map(|(id, at)| (at.full_at, *id)).collect();
        let middle = all.len() / 2;
        let (lower, ..) = all.select_nth_unstable(middle);
        for (_, id) in lower {
            counters.remove(id);
        }
    }
}
