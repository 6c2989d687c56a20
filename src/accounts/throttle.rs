//! Login throttling: how many wrong passwords an account accepts, per request source and in total.
//!
//! A client network is a request source. So is a session, for requests with its tokens: its newest
//! refresh tokens, its older ones and its access tokens each have a limit of their own. A thief
//! with an already rotated token can use up only the limit for such tokens.
//!
//! An attempt is reserved before the password is hashed, so that a hundred parallel guesses count
//! as a hundred. The reservation is released unless a password was compared and wrong. A limit
//! refills evenly over its window.
//!
//! A counter is a single timestamp: when its limit is full again. A reservation moves it forward by
//! a share of the window, and is granted as long as it is less than a whole window ahead (the
//! generic cell rate algorithm, ITU-T I.371).

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

/// Wrong passwords that an account accepts within the window from all requests that show a refresh
/// token of it, and from all that show an access token. It limits the guesses of an attacker who
/// has the tokens of many sessions; the number is NIST's for an account (SP 800-63B-4 3.2.2).
const FAILURES_PER_TOKEN_KIND: u32 = 100;

/// The settings of login throttling. They apply to this node alone: guesses spread over n nodes
/// have n times the limit.
#[derive(Clone, Copy, Debug)]
pub struct ThrottleSettings {
    /// Wrong passwords for one account from one request source.
    pub per_source: u32,
    /// Wrong passwords for one account from all request sources.
    pub per_account: u32,
    /// The time in which a used-up limit refills completely.
    pub window: Duration,
    /// The maximum number of counters; above it the ones with the lowest counts are dropped.
    pub max_counters: usize,
}

/// The source of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottleKey {
    /// A client's network.
    Network(String),
    /// A device that has sent a refresh token of the account, identified by its session and by
    /// whether the token is one of the session's newest.
    Device(Uuid, DeviceToken),
    /// A logged-in user who has sent an access token of this session.
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

/// A keyed hash, so that a memory dump does not reveal which accounts are under attack.
type CounterId = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Counter {
    /// When the limit is full again.
    full_at: Timestamp,
    /// Reservations held by attempts in progress.
    in_flight: u32,
}

/// The result of a reservation request.
#[derive(Debug)]
pub enum ReserveOutcome {
    /// The attempt was reserved.
    Granted(Reservation),
    /// Refused while other attempts are in progress that may release their reservations.
    Busy {
        /// Whether the account's limit is reached, rather than the source's.
        account: bool,
    },
    /// Refused: the limit is reached.
    Throttled {
        /// Until the next attempt is allowed, in whole seconds, at least one.
        retry_after: Duration,
        /// Whether the account's limit is reached, rather than the source's.
        account: bool,
    },
}

/// A reserved attempt. It counts as a failure unless it is released.
#[derive(Debug)]
pub struct Reservation {
    counters: Counters,
    shares: Vec<Share>,
    is_released: bool,
}

/// The share of one counter that an attempt takes.
#[derive(Clone, Copy, Debug)]
struct Share {
    id: CounterId,
    /// A part of the window.
    cost: Duration,
    kind: ShareKind,
}

/// The kinds of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShareKind {
    /// Of one request source.
    Source,
    /// Of all sessions, or all devices, of an account.
    TokenKind,
    /// Of the whole account.
    Account,
}

impl ShareKind {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Source,
            1 => Self::TokenKind,
            _ => Self::Account,
        }
    }
}

/// A share as bytes: its kind, and the counter.
const SHARE_BYTES: usize = 1 + size_of::<CounterId>();

impl LoginThrottle {
    /// Creates throttling state without any failures.
    #[must_use]
    pub fn new(key: DerivedKey, settings: ThrottleSettings, clock: Clock) -> Self {
        Self { key, settings, clock, counters: Arc::default() }
    }

    /// Reserves an attempt from an unknown source.
    #[must_use]
    pub fn reserve(&self, email_key: &str, source: &ThrottleKey) -> ReserveOutcome {
        self.reserve_shares(email_key, source, true)
    }

    /// Reserves an attempt from a known source: it counts towards the account's limit until that is
    /// reached, and is not refused when unknown sources have reached it.
    #[must_use]
    pub fn reserve_known(&self, email_key: &str, source: &ThrottleKey) -> ReserveOutcome {
        self.reserve_shares(email_key, source, false)
    }

    /// Releases the shares of a reservation, which [`Reservation::into_shares`] has returned on
    /// this or another node. Shares that this node does not know have no effect.
    pub fn release(&self, shares: &[u8]) {
        let mut counters = lock(&self.counters);
        let (shares, _) = shares.as_chunks::<SHARE_BYTES>();
        for [kind, id @ ..] in shares {
            let cost = self.settings.window / self.attempts(ShareKind::from_byte(*kind)).max(1);
            if let Some(counter) = counters.get_mut(id) {
                counter.full_at = counter.full_at.minus(cost);
            }
        }
    }

    /// The attempts that a full counter of this kind allows.
    const fn attempts(&self, kind: ShareKind) -> u32 {
        match kind {
            ShareKind::Source => self.settings.per_source,
            ShareKind::TokenKind => FAILURES_PER_TOKEN_KIND,
            ShareKind::Account => self.settings.per_account,
        }
    }

    /// The number of counters.
    #[must_use]
    pub fn in_use(&self) -> usize {
        lock(&self.counters).len()
    }

    /// Deletes the counters that are full again; to be called periodically.
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
        is_unknown_source: bool,
    ) -> ReserveOutcome {
        let now = self.clock.steady();
        let window = self.settings.window;
        let mut shares = self.shares(email_key, source);
        let mut counters = lock(&self.counters);
        if counters.len() + shares.len() > self.settings.max_counters {
            evict_counters(&mut counters, now);
        }
        let mut moved = Vec::with_capacity(shares.len());
        for Share { id, cost, kind } in &shares {
            let is_account_wide = *kind == ShareKind::Account;
            let before =
                counters.get(id).copied().unwrap_or(Counter { full_at: now, in_flight: 0 });
            let full_at = before.full_at.max(now).plus(*cost);
            let missing = full_at.since(now).saturating_sub(window);
            if missing.is_zero() {
                moved.push((*id, Counter { full_at, in_flight: before.in_flight + 1 }));
            } else if is_unknown_source || !is_account_wide {
                // Known sources take nothing from the account's counter once its limit is reached.
                return refusal(missing, *cost * before.in_flight, is_account_wide);
            }
        }
        shares.truncate(moved.len());
        counters.extend(moved);
        let counters = Arc::clone(&self.counters);
        ReserveOutcome::Granted(Reservation { counters, shares, is_released: false })
    }

    /// The shares that an attempt takes, the account's last.
    fn shares(&self, email_key: &str, source: &ThrottleKey) -> Vec<Share> {
        let (source, of_all) = match source {
            ThrottleKey::Network(network) => (format!("address {network}"), None),
            ThrottleKey::Device(session, DeviceToken::Newest) => {
                (format!("device {session}"), Some("devices"))
            }
            ThrottleKey::Device(session, DeviceToken::Older) => {
                (format!("rotated token of device {session}"), Some("devices"))
            }
            ThrottleKey::Session(session) => (format!("session {session}"), Some("sessions")),
        };
        let share = |counter: &str, kind| {
            // An e-mail address may hold any character and a source no NUL, so two pairs never
            // collide.
            let mac = self.key.mac(format!("{counter}\0{email_key}").as_bytes());
            let id = std::array::from_fn(|i| mac[i]);
            Share { id, cost: self.settings.window / self.attempts(kind).max(1), kind }
        };
        let mut shares = vec![share(&source, ShareKind::Source)];
        shares.extend(of_all.map(|all| share(all, ShareKind::TokenKind)));
        shares.push(share("account", ShareKind::Account));
        shares
    }
}

impl Counter {
    fn is_active(&self, now: Timestamp) -> bool {
        self.full_at > now || self.in_flight > 0
    }
}

/// The refusal of an attempt that lacks `missing`, of which attempts in progress may release
/// `in_flight`.
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
    /// Releases the reservation: no password was compared, or it was right.
    pub fn release(mut self) {
        self.is_released = true;
    }

    /// Keeps the reservation, and returns its shares: each a kind and a counter.
    #[must_use]
    pub fn into_shares(mut self) -> Vec<u8> {
        self.is_released = false;
        self.shares
            .iter()
            .flat_map(|share| std::iter::once(share.kind as u8).chain(share.id))
            .collect()
    }

    /// Sets whether the reservation is released on drop. Until then it stays, for an attempt that
    /// may have to compare the password again.
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

/// Deletes full counters and, when these are less than a quarter, the lower half of the rest: a
/// flood of single guesses at many accounts must not evict an account under attack.
fn evict_counters(counters: &mut HashMap<CounterId, Counter>, now: Timestamp) {
    let before = counters.len();
    counters.retain(|_, counter| counter.is_active(now));
    if counters.len() > before / 4 * 3 {
        // Ties are broken by id: a flood at one instant must not empty the table.
        let mut all: Vec<_> = counters.iter().map(|(id, at)| (at.full_at, *id)).collect();
        let middle = all.len() / 2;
        let (lower, ..) = all.select_nth_unstable(middle);
        for (_, id) in lower {
            counters.remove(id);
        }
    }
}
