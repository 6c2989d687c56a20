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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::secret::DerivedKey;
use crate::sessions::DeviceToken;

/// Wrong passwords that an account takes within the window from all who show a refresh token of it,
/// and from all who show an access token. It bounds what somebody can guess who has the tokens of
/// many sessions; the number is NIST's for an account (SP 800-63B-4 3.2.2).
const PER_KIND_OF_TOKEN: u32 = 100;

/// The settings of the budget. It is this node's own: with n nodes, guesses spread over them count
/// n times.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSettings {
    /// Wrong passwords for one account from one place.
    pub per_origin: u32,
    /// Wrong passwords for one account from everywhere.
    pub per_account: u32,
    /// The time over which a spent budget is whole again.
    pub window: Duration,
    /// Counters that are kept; beyond it the lowest are forgotten.
    pub max_keys: usize,
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
    whole_at: Timestamp,
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
    taken: Vec<Share>,
    is_returned: bool,
}

/// What an attempt takes of one counter.
#[derive(Clone, Copy, Debug)]
struct Share {
    id: CounterId,
    /// A part of the window.
    cost: Duration,
    /// Whether it is the counter of the whole account.
    is_accounts: bool,
}

impl LoginThrottle {
    /// An unspent budget.
    #[must_use]
    pub fn new(key: DerivedKey, settings: ThrottleSettings, clock: Clock) -> Self {
        Self { key, settings, clock, counters: Arc::default() }
    }

    /// Takes a place for an attempt by a stranger.
    #[must_use]
    pub fn take(&self, email_key: &str, origin: &ThrottleKey) -> ReserveOutcome {
        self.take_place(email_key, origin, true)
    }

    /// Takes a place for an attempt by somebody who is known: it counts for the account as long as
    /// that has something left, and is not refused when strangers have spent it.
    #[must_use]
    pub fn take_known(&self, email_key: &str, origin: &ThrottleKey) -> ReserveOutcome {
        self.take_place(email_key, origin, false)
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
        counters.retain(|_, counter| counter.counts(now));
        counters.shrink_to_fit();
    }

    fn take_place(
        &self,
        email_key: &str,
        origin: &ThrottleKey,
        is_stranger: bool,
    ) -> ReserveOutcome {
        let now = self.clock.steady();
        let window = self.settings.window;
        let mut wanted = self.wanted(email_key, origin);
        let mut counters = lock(&self.counters);
        if counters.len() + wanted.len() > self.settings.max_keys {
            make_room(&mut counters, now);
        }
        let mut moved = Vec::with_capacity(wanted.len());
        for Share { id, cost, is_accounts } in &wanted {
            let before =
                counters.get(id).copied().unwrap_or(Counter { whole_at: now, in_flight: 0 });
            let whole_at = before.whole_at.max(now).plus(*cost);
            let missing = whole_at.since(now).saturating_sub(window);
            if missing.is_zero() {
                moved.push((*id, Counter { whole_at, in_flight: before.in_flight + 1 }));
            } else if is_stranger || !*is_accounts {
                // Of the account's counter the known take nothing once it is used up.
                return refusal(missing, *cost * before.in_flight, *is_accounts);
            }
        }
        wanted.truncate(moved.len());
        counters.extend(moved);
        let counters = Arc::clone(&self.counters);
        ReserveOutcome::Granted(Reservation { counters, taken: wanted, is_returned: false })
    }

    /// What an attempt takes, the account's share last.
    fn wanted(&self, email_key: &str, origin: &ThrottleKey) -> Vec<Share> {
        let (origin, of_all) = match origin {
            ThrottleKey::Network(network) => (format!("address {network}"), None),
            ThrottleKey::Device(session, DeviceToken::Newest) => {
                (format!("device {session}"), Some("devices"))
            }
            ThrottleKey::Device(session, DeviceToken::Spent) => {
                (format!("spent device {session}"), Some("devices"))
            }
            ThrottleKey::Session(session) => (format!("session {session}"), Some("sessions")),
        };
        let share = |counter: &str, attempts: u32, is_accounts| {
            // An e-mail may hold anything, an origin no NUL: no two pairs read the same.
            let mac = self.key.mac(format!("{counter}\0{email_key}").as_bytes());
            let id = std::array::from_fn(|i| mac[i]);
            Share { id, cost: self.settings.window / attempts.max(1), is_accounts }
        };
        let mut wanted = vec![share(&origin, self.settings.per_origin, false)];
        wanted.extend(of_all.map(|all| share(all, PER_KIND_OF_TOKEN, false)));
        wanted.push(share("account", self.settings.per_account, true));
        wanted
    }
}

impl Counter {
    fn counts(&self, now: Timestamp) -> bool {
        self.whole_at > now || self.in_flight > 0
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
    pub fn give_back(mut self) {
        self.is_returned = true;
    }

    /// Whether the place is returned when it is dropped. It stays taken until then, for an attempt
    /// that may have to compare the password again.
    pub const fn return_at_end(&mut self, is_returned: bool) {
        self.is_returned = is_returned;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut counters = lock(&self.counters);
        for Share { id, cost, .. } in &self.taken {
            if let Some(counter) = counters.get_mut(id) {
                counter.in_flight = counter.in_flight.saturating_sub(1);
                if self.is_returned {
                    counter.whole_at = counter.whole_at.minus(*cost);
                }
            }
        }
    }
}

/// Forgets what is whole again and, when that is not a quarter, the lower half of the rest: a flood
/// of one guess each on ever new accounts must not push out an account that is under attack.
fn make_room(counters: &mut HashMap<CounterId, Counter>, now: Timestamp) {
    let before = counters.len();
    counters.retain(|_, counter| counter.counts(now));
    if counters.len() > before / 4 * 3 {
        // The id decides between equals: a flood within one moment must not empty the table.
        let mut all: Vec<_> = counters.iter().map(|(id, at)| (at.whole_at, *id)).collect();
        let middle = all.len() / 2;
        let (lower, ..) = all.select_nth_unstable(middle);
        for (_, id) in lower {
            counters.remove(id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
