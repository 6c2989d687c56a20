//! The budget of failed logins: how many wrong passwords an account takes, from one place and from
//! all of them.
//!
//! A place in the budget is taken before the password is hashed, so that a hundred guesses at once
//! count as a hundred, and it is given back unless a password was compared and wrong. A budget
//! refills evenly over its window.
//!
//! A counter is one moment: when its budget will be whole again. Taking a place moves it by a share
//! of the window, and there is a place as long as it is not a whole window ahead (the generic cell
//! rate algorithm, ITU-T I.371).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::secret::DerivedKey;

/// The settings of the budget. It is this node's own: with n nodes, guesses spread over them count
/// n times.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSettings {
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
pub enum Origin {
    /// A client's network.
    Address(String),
    /// A device that has shown a refresh or access token of the account: by its session.
    Device(Uuid),
}

/// The counters. Shared by all requests of a node.
#[derive(Debug)]
pub struct LoginBudget {
    key: DerivedKey,
    settings: BudgetSettings,
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
pub enum Taken {
    /// There was one.
    Granted(Place),
    /// There is none as long as other attempts are being made, which may give theirs back.
    Busy {
        /// Whether it is the account's budget that they hold, and not the origin's.
        account: bool,
    },
    /// There was none.
    Spent {
        /// How long until there is one: whole seconds, one at least.
        retry_after: Duration,
        /// Whether it was the account's budget that was spent, and not the origin's.
        account: bool,
    },
}

/// A place in the budget. It stays taken unless it is given back.
#[derive(Debug)]
pub struct Place {
    counters: Counters,
    taken: [(CounterId, Duration); 2],
    is_returned: bool,
}

impl LoginBudget {
    /// An unspent budget.
    #[must_use]
    pub fn new(key: DerivedKey, settings: BudgetSettings, clock: Clock) -> Self {
        Self { key, settings, clock, counters: Arc::default() }
    }

    /// Takes a place for an attempt by a stranger.
    #[must_use]
    pub fn take(&self, email_key: &str, origin: &Origin) -> Taken {
        self.take_place(email_key, origin, true)
    }

    /// Takes a place for an attempt by somebody who is known: it counts for the account, and is not
    /// refused because strangers have spent the account's budget.
    #[must_use]
    pub fn take_known(&self, email_key: &str, origin: &Origin) -> Taken {
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

    fn take_place(&self, email_key: &str, origin: &Origin, is_stranger: bool) -> Taken {
        let now = self.clock.steady();
        let (place, account) = self.ids(email_key, origin);
        let window = self.settings.window;
        let wanted = [
            (place, window / self.settings.per_origin.max(1)),
            (account, window / self.settings.per_account.max(1)),
        ];
        let mut counters = lock(&self.counters);
        if counters.len() + wanted.len() > self.settings.max_keys {
            make_room(&mut counters, now);
        }
        let moved = wanted.map(|(id, share)| {
            let before =
                counters.get(&id).copied().unwrap_or(Counter { whole_at: now, in_flight: 0 });
            let whole_at = before.whole_at.max(now).plus(share);
            (id, share, Counter { whole_at, in_flight: before.in_flight + 1 })
        });
        for (is_account, (_, share, counter)) in [false, true].into_iter().zip(moved) {
            let missing = counter.whole_at.since(now).saturating_sub(window);
            if missing.is_zero() || (is_account && !is_stranger) {
                continue;
            }
            if missing <= share * (counter.in_flight - 1) {
                return Taken::Busy { account: is_account };
            }
            let started = u64::from(missing.subsec_nanos() > 0);
            let retry_after = Duration::from_secs(missing.as_secs() + started);
            return Taken::Spent { retry_after, account: is_account };
        }
        counters.extend(moved.map(|(id, _, counter)| (id, counter)));
        let counters = Arc::clone(&self.counters);
        Taken::Granted(Place { counters, taken: wanted, is_returned: false })
    }

    fn ids(&self, email_key: &str, origin: &Origin) -> (CounterId, CounterId) {
        let origin = match origin {
            Origin::Address(network) => format!("address {network}"),
            Origin::Device(session) => format!("device {session}"),
        };
        // An e-mail may hold anything, an origin no NUL: no two pairs read the same.
        let id = |text: String| {
            let mac = self.key.mac(text.as_bytes());
            std::array::from_fn(|i| mac[i])
        };
        (id(format!("{origin}\0{email_key}")), id(format!("account\0{email_key}")))
    }
}

impl Counter {
    fn counts(&self, now: Timestamp) -> bool {
        self.whole_at > now || self.in_flight > 0
    }
}

impl Place {
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut counters = lock(&self.counters);
        for (id, share) in self.taken {
            if let Some(counter) = counters.get_mut(&id) {
                counter.in_flight = counter.in_flight.saturating_sub(1);
                if self.is_returned {
                    counter.whole_at = counter.whole_at.minus(share);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{MasterSecret, Purpose};

    fn budget(max_keys: usize) -> (LoginBudget, Clock) {
        let clock = Clock::manual(Timestamp::from_unix_seconds(1_000_000));
        let key = MasterSecret::generate().derive(Purpose::LoginBudget);
        let window = Duration::from_secs(600);
        let settings = BudgetSettings { per_origin: 10, per_account: 30, window, max_keys };
        (LoginBudget::new(key, settings, clock.clone()), clock)
    }

    fn address(n: u32) -> Origin {
        Origin::Address(format!("192.0.2.{n}"))
    }

    fn is_granted(taken: &Taken) -> bool {
        matches!(taken, Taken::Granted(_))
    }

    #[test]
    fn a_hundred_parallel_guesses_get_as_many_places_as_there_are() {
        let (budget, _) = budget(1000);
        let granted = std::thread::scope(|scope| {
            let guess = || is_granted(&budget.take("ada", &address(1)));
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(guess)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).filter(|g| *g).count()
        });
        assert_eq!(granted, 10);
    }

    #[test]
    fn attempts_that_are_still_being_made_are_no_failures() {
        let (budget, _) = budget(1000);
        let under_way: Vec<Taken> = (0..10).map(|_| budget.take("ada", &address(1))).collect();
        assert!(under_way.iter().all(is_granted));
        assert!(matches!(budget.take("ada", &address(1)), Taken::Busy { account: false }));
        drop(under_way);
        assert!(matches!(budget.take("ada", &address(1)), Taken::Spent { account: false, .. }));
    }

    #[test]
    fn a_place_that_is_given_back_is_free_again_and_a_dropped_one_is_not() {
        let (budget, _) = budget(1000);
        for _ in 0..100 {
            let Taken::Granted(place) = budget.take("ada", &address(1)) else { panic!("spent") };
            place.give_back();
        }
        for _ in 0..10 {
            assert!(is_granted(&budget.take("ada", &address(1))));
        }
        assert!(!is_granted(&budget.take("ada", &address(1))));
    }

    #[test]
    fn a_budget_refills_evenly_and_says_when() {
        let (budget, clock) = budget(1000);
        for _ in 0..10 {
            assert!(is_granted(&budget.take("ada", &address(1))));
        }
        let Taken::Spent { retry_after, account: false } = budget.take("ada", &address(1)) else {
            panic!("granted")
        };
        assert_eq!(retry_after, Duration::from_secs(60));
        clock.advance(retry_after);
        assert!(is_granted(&budget.take("ada", &address(1))));
        assert!(!is_granted(&budget.take("ada", &address(1))));
    }

    #[test]
    fn strangers_from_everywhere_spend_the_accounts_budget_and_the_known_get_in() {
        let (budget, _) = budget(1000);
        for n in 0..30 {
            assert!(is_granted(&budget.take("ada", &address(n))));
        }
        assert!(matches!(budget.take("ada", &address(99)), Taken::Spent { account: true, .. }));
        assert!(is_granted(&budget.take_known("ada", &address(99))));
        assert!(is_granted(&budget.take_known("ada", &Origin::Device(Uuid::from_u128(7)))));
        assert!(is_granted(&budget.take("bob", &address(99))));
    }

    #[test]
    fn a_known_device_has_no_more_guesses_than_an_address() {
        let (budget, _) = budget(1000);
        let device = Origin::Device(Uuid::from_u128(7));
        let granted = (0..50).filter(|_| is_granted(&budget.take_known("ada", &device))).count();
        assert_eq!(granted, 10);
    }

    #[test]
    fn a_flood_of_accounts_fills_no_more_than_the_table_and_forgets_no_account_under_attack() {
        let (budget, _) = budget(1000);
        for _ in 0..10 {
            assert!(is_granted(&budget.take("ada", &address(1))));
        }
        for n in 0..5000 {
            let _ = budget.take(&format!("somebody {n}"), &address(n));
        }
        assert!(lock(&budget.counters).len() <= 1000);
        assert!(!is_granted(&budget.take("ada", &address(1))));
    }

    #[test]
    fn a_sweep_forgets_what_is_whole_again() {
        let (budget, clock) = budget(1000);
        let _ = budget.take("ada", &address(1));
        clock.advance(Duration::from_secs(61));
        budget.sweep();
        assert!(lock(&budget.counters).is_empty());
    }

    #[test]
    fn a_wait_is_whole_seconds_rounded_up_and_one_at_least() {
        let (budget, clock) = budget(1000);
        for _ in 0..10 {
            assert!(is_granted(&budget.take("ada", &address(1))));
        }
        let mut passed = 0;
        for (at_micros, wait_seconds) in
            [(0, 60), (1, 60), (999_999, 60), (1_000_000, 59), (59_000_000, 1), (59_999_999, 1)]
        {
            clock.advance(Duration::from_micros(at_micros - passed));
            passed = at_micros;
            let Taken::Spent { retry_after, account: false } = budget.take("ada", &address(1))
            else {
                panic!("granted after {at_micros} µs")
            };
            assert_eq!(retry_after, Duration::from_secs(wait_seconds), "{at_micros} µs");
        }
    }

    #[test]
    fn a_wait_that_was_told_is_enough_for_the_account_too() {
        let (budget, clock) = budget(1000);
        for n in 0..30 {
            assert!(is_granted(&budget.take("ada", &address(n))));
        }
        let Taken::Spent { retry_after, account: true } = budget.take("ada", &address(99)) else {
            panic!("granted")
        };
        assert_eq!(retry_after, Duration::from_secs(20));
        clock.advance(retry_after.checked_sub(Duration::from_micros(1)).unwrap());
        assert!(!is_granted(&budget.take("ada", &address(99))));
        clock.advance(Duration::from_micros(1));
        assert!(is_granted(&budget.take("ada", &address(99))));
    }

    #[test]
    fn a_refused_attempt_costs_nothing() {
        let (budget, clock) = budget(1000);
        for _ in 0..100 {
            let _ = budget.take("ada", &address(1));
        }
        for n in 2..4 {
            let granted = (0..100).filter(|_| is_granted(&budget.take("ada", &address(n)))).count();
            assert_eq!(granted, 10);
        }
        assert!(matches!(budget.take("ada", &address(4)), Taken::Spent { account: true, .. }));
        clock.advance(Duration::from_secs(600));
        assert!(is_granted(&budget.take("ada", &address(4))));
    }

    #[test]
    fn the_guesses_of_the_known_count_for_the_account() {
        let (budget, _) = budget(1000);
        for n in 0..3 {
            for _ in 0..10 {
                assert!(is_granted(&budget.take_known("ada", &address(n))));
            }
        }
        assert!(matches!(budget.take("ada", &address(99)), Taken::Spent { account: true, .. }));
    }

    #[test]
    fn an_origin_that_is_spent_is_told_so_even_where_the_account_is_too() {
        let (budget, _) = budget(1000);
        for n in 0..3 {
            for _ in 0..10 {
                assert!(is_granted(&budget.take("ada", &address(n))));
            }
        }
        assert!(matches!(budget.take("ada", &address(0)), Taken::Spent { account: false, .. }));
        assert!(matches!(
            budget.take_known("ada", &address(0)),
            Taken::Spent { account: false, .. }
        ));
    }

    #[test]
    fn every_budget_that_the_configuration_allows_has_exactly_its_places() {
        for per_origin in 1..=100 {
            for window in [60, 600, 86_400].map(Duration::from_secs) {
                let settings =
                    BudgetSettings { per_origin, per_account: 1000, window, max_keys: 1000 };
                let budget = LoginBudget { settings, ..budget(1000).0 };
                let granted =
                    (0..200).filter(|_| is_granted(&budget.take("ada", &address(1)))).count();
                assert_eq!(granted, per_origin as usize, "{window:?}");
            }
        }
    }

    #[test]
    fn a_flood_within_one_moment_empties_no_more_than_half_of_the_table() {
        let (budget, _) = budget(1000);
        for n in 0..500 {
            let _ = budget.take(&format!("somebody {n}"), &address(n));
        }
        assert_eq!(lock(&budget.counters).len(), 1000);
        let _ = budget.take("ada", &address(1));
        assert!((500..=502).contains(&lock(&budget.counters).len()));
    }

    #[test]
    fn a_full_table_forgets_what_is_whole_before_anything_else() {
        let (budget, clock) = budget(1000);
        for n in 0..400 {
            let _ = budget.take(&format!("somebody {n}"), &address(n));
        }
        clock.advance(Duration::from_secs(60));
        for n in 0..100 {
            let _ = budget.take(&format!("somebody else {n}"), &address(n));
        }
        let _ = budget.take("ada", &address(1));
        assert_eq!(lock(&budget.counters).len(), 202);
    }

    #[test]
    fn the_table_names_nobody_and_another_key_makes_another_table() {
        let (a, _) = budget(1000);
        let (b, _) = budget(1000);
        for budget in [&a, &b] {
            let _ = budget.take("ada", &address(1));
        }
        assert!(lock(&a.counters).keys().all(|id| !lock(&b.counters).contains_key(id)));
    }

    #[test]
    fn an_address_and_a_device_never_share_a_counter() {
        let (budget, _) = budget(1000);
        let device = Uuid::from_u128(7);
        let _ = budget.take("ada", &Origin::Device(device));
        let _ = budget.take("ada", &Origin::Address(device.to_string()));
        assert_eq!(lock(&budget.counters).len(), 3);
    }
}
