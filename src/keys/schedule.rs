//! The life cycle of a signing key, as a pure function of the stored rows and the time.

use std::time::Duration;

use super::KeyPolicy;
use super::queries::KeyRow;
use crate::clock::Timestamp;
use crate::named::named;

/// A margin beyond the lifetimes of cached JWKS and tokens: for clock differences, late cache
/// refreshes, and nodes that maintain their keys once a minute.
pub(super) const MARGIN: Duration = Duration::from_secs(180);

named! {
    /// The state of a key.
    pub enum KeyState {
        /// Published, but not signing until every cache has it.
        Next = "next",
        /// Signs.
        Active = "active",
        /// Only verifies earlier tokens.
        Retired = "retired",
    }
}

/// The state changes that are due, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    pub remove: Vec<String>,
    pub retire: Option<String>,
    pub activate: Option<String>,
    pub create: Option<KeyState>,
}

/// The life cycle: the changes that are due for these rows at this time.
pub(super) fn schedule(rows: &[KeyRow], policy: &KeyPolicy, now: Timestamp) -> Schedule {
    let find = |state: KeyState| rows.iter().find(|row| row.is(state));
    let mut schedule = Schedule {
        remove: rows
            .iter()
            .filter(|row| policy.removed_at(row).is_some_and(|at| at < now))
            .map(|row| row.kid.clone())
            .collect(),
        ..Schedule::default()
    };
    match (find(KeyState::Active), find(KeyState::Next)) {
        // No client can have cached a JWKS without it.
        (None, None) => schedule.create = Some(KeyState::Active),
        (None, Some(next)) => schedule.activate = Some(next.kid.clone()),
        (Some(active), Some(next)) if policy.signs_from(next) <= now => {
            schedule.retire = Some(active.kid.clone());
            schedule.activate = Some(next.kid.clone());
        }
        (Some(_), Some(_)) => {}
        (Some(active), None) => {
            if policy.successor_at(active) <= now || active.alg != policy.algorithm.as_str() {
                schedule.create = Some(KeyState::Next);
            }
        }
    }
    schedule
}

impl KeyPolicy {
    /// How long a key is published before it signs: until every cache must have it.
    fn publish(&self) -> Duration {
        self.jwks_max_age + MARGIN
    }

    /// When a next key is activated.
    pub(super) fn signs_from(&self, next: &KeyRow) -> Timestamp {
        next.created_at.plus(self.publish())
    }

    /// When an active key's successor is published.
    pub(super) fn successor_at(&self, active: &KeyRow) -> Timestamp {
        let since = active.activated_at.unwrap_or(active.created_at);
        since.plus(self.lifetime).minus(self.publish())
    }

    /// When a retired key is removed: after its last token has expired.
    pub(super) fn removed_at(&self, row: &KeyRow) -> Option<Timestamp> {
        row.retired_at.map(|at| at.plus(self.max_token_age + MARGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Algorithm;

    const POLICY: KeyPolicy = KeyPolicy {
        algorithm: Algorithm::Es256,
        lifetime: Duration::from_secs(90 * 86400),
        jwks_max_age: Duration::from_secs(600),
        max_token_age: Duration::from_secs(630),
    };

    fn row(kid: &str, state: KeyState, at: i64) -> KeyRow {
        let at = Timestamp::from_unix_seconds(at);
        KeyRow {
            kid: kid.into(),
            alg: "ES256".into(),
            sealed: Vec::new(),
            jwk: String::new(),
            state: state.as_str().into(),
            created_at: at,
            activated_at: (state != KeyState::Next).then_some(at),
            retired_at: (state == KeyState::Retired).then_some(at),
        }
    }

    fn at(rows: &[KeyRow], seconds: i64) -> Schedule {
        schedule(rows, &POLICY, Timestamp::from_unix_seconds(seconds))
    }

    #[test]
    fn an_empty_database_gets_an_active_key() {
        assert_eq!(at(&[], 0), Schedule { create: Some(KeyState::Active), ..Schedule::default() });
    }

    #[test]
    fn a_successor_is_published_one_cache_lifetime_before_its_activation() {
        let rows = [row("a", KeyState::Active, 0)];
        let due = 90 * 86400 - 780;
        assert_eq!(at(&rows, due - 1), Schedule::default());
        assert_eq!(
            at(&rows, due),
            Schedule { create: Some(KeyState::Next), ..Schedule::default() }
        );
    }

    #[test]
    fn a_new_key_signs_only_when_every_cache_has_it() {
        let rows = [row("a", KeyState::Active, 0), row("b", KeyState::Next, 1000)];
        assert_eq!(at(&rows, 1779), Schedule::default());
        let turn = Schedule {
            retire: Some("a".into()),
            activate: Some("b".into()),
            ..Schedule::default()
        };
        assert_eq!(at(&rows, 1780), turn);
    }

    #[test]
    fn a_retired_key_stays_until_its_last_token_has_expired() {
        let rows = [row("a", KeyState::Retired, 1000), row("b", KeyState::Active, 1000)];
        assert_eq!(at(&rows, 1810), Schedule::default());
        assert_eq!(at(&rows, 1811), Schedule { remove: vec!["a".into()], ..Schedule::default() });
    }

    #[test]
    fn another_algorithm_in_the_configuration_publishes_a_key_for_it() {
        let rows = [KeyRow { alg: "EdDSA".into(), ..row("a", KeyState::Active, 0) }];
        assert_eq!(at(&rows, 1), Schedule { create: Some(KeyState::Next), ..Schedule::default() });
    }
}
