//! What an operator does to signing keys: look at them, bring the next rotation forward, and give up
//! a key that others may know.

use std::time::Duration;

use diesel::QueryResult;

use super::generation::{NewKey, generate};
use super::queries::{self, KeyRow};
use super::{KeyPolicy, KeyState, Keys, KeysError, Seal, create, record};
use crate::audit::EventKind;
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Tx};

/// How long verifiers go on with keys that they cannot fetch again, beyond the age up to which those
/// may be cached: as the library for services does.
const VERIFIER_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A signing key, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name in tokens and in the JWKS.
    pub kid: String,
    /// What it signs with.
    pub alg: String,
    /// Where it stands in its life: `next`, `active` or `retired`.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it goes on to its next state: a next key signs, an active one gets a published
    /// successor, a retired one is removed.
    pub until: Option<Timestamp>,
}

/// A key that is ready to take the place of one that is given up.
pub struct Spare(NewKey);

/// What became of a key that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The key that signs now.
    pub signing: String,
}

/// Deletes every signing key, in the caller's unit of work, and answers their names. No token that
/// they signed is accepted by a node that starts afterwards: it makes a new key.
///
/// # Errors
/// Whatever the database says.
pub fn remove_all(tx: &mut Tx<'_>) -> QueryResult<Vec<String>> {
    let kids = queries::load(tx.connection())?.into_iter().map(|row| row.kid).collect();
    queries::delete_all(tx.connection())?;
    Ok(kids)
}

/// Whether every stored key can be opened; changes nothing.
///
/// # Errors
/// [`KeysError`]: above all, a secret that does not open them.
pub async fn examine(db: &Database, seal: &Seal) -> Result<(), KeysError> {
    db.read(queries::load).await?.iter().try_for_each(|row| row.open(seal).map(drop))
}

impl KeyPolicy {
    /// How long a key that was given up has to be refused: tokens can be forged with it for as long
    /// as anybody believes it.
    #[must_use]
    pub fn trusted_for(&self) -> Duration {
        self.max_token_age.max(self.jwks_max_age + VERIFIER_GRACE)
    }
}

/// The stored keys as an operator's hand reaches them. Unlike [`Keys`] it looks after nothing by
/// itself: what runs the service decides when a key is due, and of which algorithm.
#[derive(Clone)]
pub struct KeyAdmin {
    db: Database,
    clock: Clock,
    seal: Seal,
    policy: KeyPolicy,
}

impl Keys {
    /// The operator's hand on these keys.
    #[must_use]
    pub fn admin(&self) -> KeyAdmin {
        let (db, clock) = (self.db.clone(), self.clock.clone());
        KeyAdmin { db, clock, seal: self.seal.clone(), policy: self.policy }
    }
}

impl KeyAdmin {
    /// The operator's hand on the keys of a database; changes nothing.
    ///
    /// # Errors
    /// [`KeysError`]: above all, a secret that does not open them, under which no other key must be
    /// made.
    pub async fn open(
        db: Database,
        clock: Clock,
        seal: Seal,
        policy: KeyPolicy,
    ) -> Result<Self, KeysError> {
        examine(&db, &seal).await?;
        Ok(Self { db, clock, seal, policy })
    }

    /// Every published key, the newest first.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn list(&self) -> Result<Vec<KeyStatus>, KeysError> {
        let rows = self.db.read(queries::load).await?;
        Ok(rows.iter().map(|row| self.status(row)).collect())
    }

    /// Publishes the next key now, unless there is one already; it signs when every cache of the
    /// JWKS has it. The next key.
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay as they were.
    pub async fn rotate(&self) -> Result<KeyStatus, KeysError> {
        let new = self.generate().await?;
        let clock = self.clock.clone();
        let rows = self
            .db
            .write(move |tx| {
                create(tx, &new, KeyState::Next, clock.now())?;
                queries::load(tx.connection())
            })
            .await?;
        let next = rows.iter().find(|row| row.is(KeyState::Next));
        let missing = || KeysError::Unusable("(new)".into(), "it is not there".into());
        next.map(|row| self.status(row)).ok_or_else(missing)
    }

    /// Takes back the next key, which has signed nothing; false when it is not (any more) that.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn cancel_next(&self, kid: &str) -> Result<bool, KeysError> {
        let (kid, clock) = (kid.to_owned(), self.clock.clone());
        let deleted = self
            .db
            .write(move |tx| {
                let deleted = queries::delete_in(tx.connection(), &kid, KeyState::Next)?;
                record(tx, EventKind::KeyRemoved, &kid, deleted, clock.now())?;
                Ok(deleted)
            })
            .await?;
        Ok(deleted > 0)
    }

    /// Makes a key that can take the place of one that is given up ([`KeyAdmin::revoke`]).
    ///
    /// # Errors
    /// [`KeysError::Unusable`] when the system cannot make one.
    pub async fn generate_spare(&self) -> Result<Spare, KeysError> {
        self.generate().await.map(Spare)
    }

    /// [`KeyPolicy::trusted_for`].
    #[must_use]
    pub fn trusted_for(&self) -> Duration {
        self.policy.trusted_for()
    }

    /// Removes a key in the caller's unit of work, and lets another sign at once if it was the one
    /// that did: the next key, or else the spare one. Nothing when there is no such key.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn revoke(
        tx: &mut Tx<'_>,
        kid: &str,
        spare: &Spare,
        now: Timestamp,
    ) -> QueryResult<Option<Removed>> {
        let deleted = queries::delete(tx.connection(), kid)?;
        if deleted == 0 {
            return Ok(None);
        }
        record(tx, EventKind::KeyRevoked, kid, deleted, now)?;
        let left = queries::load(tx.connection())?;
        let find = |state: KeyState| left.iter().find(|row| row.is(state));
        let signing = match (find(KeyState::Active), find(KeyState::Next)) {
            (Some(active), _) => active.kid.clone(),
            (None, Some(next)) => {
                let rows = queries::activate(tx.connection(), &next.kid, now)?;
                record(tx, EventKind::KeyRotated, &next.kid, rows, now)?;
                next.kid.clone()
            }
            (None, None) => {
                create(tx, &spare.0, KeyState::Active, now)?;
                spare.0.kid.clone()
            }
        };
        Ok(Some(Removed { signing }))
    }

    /// A key of the same algorithm as the one that signs: an operator's shell may know other
    /// settings than the service.
    async fn generate(&self) -> Result<NewKey, KeysError> {
        let rows = self.db.read(queries::load).await?;
        let active = rows.iter().find(|row| row.is(KeyState::Active));
        let algorithm = active.and_then(|row| row.alg.parse().ok());
        generate(algorithm.unwrap_or(self.policy.algorithm), &self.seal).await
    }

    fn status(&self, row: &KeyRow) -> KeyStatus {
        let until = if row.is(KeyState::Next) {
            Some(self.policy.signs_from(row))
        } else if row.is(KeyState::Active) {
            Some(self.policy.successor_at(row))
        } else {
            self.policy.removed_at(row)
        };
        let KeyRow { kid, alg, state, created_at, .. } = row.clone();
        KeyStatus { kid, alg, state, created_at, until }
    }
}
