//! Dummy hashes: the work for an address that has no account.
//!
//! The duration of a login must not reveal whether an account exists. A stored hash that is cheaper
//! than a new one is padded. One that is costlier, from before the cost was lowered or made by a
//! command with other settings, takes longer until its owner logs in again. So a dummy hash has the
//! parameters of a stored one, chosen in the proportion in which accounts have them: a keyed hash
//! of the address chooses, so that it is the same each time and on every node. One address that
//! takes longer is then as likely an address without an account as any other.

use std::sync::{Arc, PoisonError, RwLock};

use super::argon2::HashParams;
use super::{HashCost, PasswordHash};
use crate::secret::DerivedKey;

/// Sets of parameters that are counted apart; each is a cost that was configured once. The accounts
/// of further ones count as if their hashes cost as configured.
const MAX_SETS: usize = 16;

/// The hash whose parameters a password is hashed with.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// The hash of an account, which is compared.
    Stored(PasswordHash),
    /// The hash of an account, which is computed but not compared.
    Uncompared(PasswordHash),
    /// A dummy for an address without an account, which is computed but not compared.
    Dummy(DummyParams),
}

/// The parameters of a dummy hash; none are the configured ones.
#[derive(Clone, Debug, Default)]
pub struct DummyParams(pub(super) Option<HashParams>);

/// How many stored hashes cost more than the configured cost, by their parameters.
#[derive(Clone, Debug)]
pub struct StoredCosts {
    configured: Option<HashParams>,
    all: u64,
    costlier: Vec<(HashParams, u64)>,
}

impl StoredCosts {
    pub(super) fn none(configured: HashCost) -> Self {
        Self { configured: HashParams::of(configured), all: 0, costlier: Vec::new() }
    }

    /// Counts the hash of one more account.
    pub fn count(&mut self, hash: &PasswordHash) {
        self.all += 1;
        let costlier = |params: &HashParams| {
            self.configured.as_ref().is_some_and(|configured| params.is_costlier_than(configured))
        };
        let Some(params) = HashParams::of_stored(hash).filter(costlier) else { return };
        if let Some((_, count)) = self.costlier.iter_mut().find(|(known, _)| *known == params) {
            *count += 1;
        } else if self.costlier.len() < MAX_SETS {
            self.costlier.push((params, 1));
        }
    }

    /// The parameters for a number between 0 and 2^64. Each account has an equal share of that
    /// range, so fewer accounts with costlier hashes mean a smaller share with their parameters.
    fn at(&self, place: u64) -> Option<&HashParams> {
        let share = (u128::from(place) * u128::from(self.all)) >> 64;
        let mut before = 0;
        self.costlier.iter().find_map(|(params, count)| {
            before += u128::from(*count);
            (share < before).then_some(params)
        })
    }
}

/// Chooses the parameters of dummy hashes.
#[derive(Clone, Debug)]
pub(super) struct Dummies {
    key: DerivedKey,
    costs: Arc<RwLock<StoredCosts>>,
}

impl Dummies {
    pub(super) fn new(key: DerivedKey, configured: HashCost) -> Self {
        Self { key, costs: Arc::new(RwLock::new(StoredCosts::none(configured))) }
    }

    pub(super) fn set(&self, mut costs: StoredCosts) {
        costs.costlier.sort_by(|(one, _), (other, _)| other.sort_key().cmp(&one.sort_key()));
        *self.costs.write().unwrap_or_else(PoisonError::into_inner) = costs;
    }

    pub(super) fn choose(&self, email_key: &str) -> DummyParams {
        let [place, ..] = *self.key.mac(email_key.as_bytes()).as_chunks().0 else {
            return DummyParams(None);
        };
        let costs = self.costs.read().unwrap_or_else(PoisonError::into_inner);
        DummyParams(costs.at(u64::from_be_bytes(place)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(memory: u32, passes: u32) -> PasswordHash {
        let (salt, tag) = ("A".repeat(22), "A".repeat(43));
        let text = format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${tag}");
        PasswordHash::from_stored(text)
    }

    #[test]
    fn parameters_are_chosen_in_proportion_to_their_accounts() {
        let configured = HashCost { memory_kib: 64, iterations: 2, parallelism: 1 };
        let mut costs = StoredCosts::none(configured);
        assert_eq!(costs.at(0), None, "nobody has an account");
        // As configured, cheaper, unreadable: five of ten.
        for other in [hash(64, 2), hash(64, 2), hash(64, 1), hash(32, 3)] {
            costs.count(&other);
        }
        costs.count(&PasswordHash::from_stored(String::new()));
        for costlier in [hash(64, 6), hash(64, 6), hash(64, 6), hash(64, 3), hash(72, 1)] {
            costs.count(&costlier);
        }
        let mut seen = Vec::new();
        for tenth in 0..10_u64 {
            let place = u64::MAX / 10 * tenth + u64::MAX / 20;
            seen.push(costs.at(place).map(|params| params.sort_key().0));
        }
        let (six, three, large) = (Some(6 * 64), Some(3 * 64), Some(72));
        assert_eq!(seen, [six, six, six, three, large, None, None, None, None, None]);
        assert_eq!(costs.at(u64::MAX), None);
    }

    #[test]
    fn at_most_16_parameter_sets_are_counted() {
        let cheap = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };
        let mut costs = StoredCosts::none(cheap);
        for passes in 2..100 {
            costs.count(&hash(64, passes));
        }
        assert_eq!((costs.costlier.len(), costs.all), (MAX_SETS, 98));
    }
}
