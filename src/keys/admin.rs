//! Administrative operations on signing keys: list them, rotate early, and revoke a compromised
//! one.

use std::time::Duration;

use diesel::QueryResult;

use super::generation::{NewKey, generate};
use super::maintenance::{create, record};
use super::queries::{self, KeyRow};
use super::{KeyPolicy, KeyState, Keys, KeysError, Seal};
use crate::audit::EventKind;
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Tx};

/// How long verifiers keep using keys that they cannot fetch again, beyond the JWKS's cache
/// lifetime; the verifier library does the same.
const VERIFIER_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A signing key, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its `kid`.
    pub kid: String,
    /// Its algorithm.
    pub alg: String,
    /// Its state: `next`, `active` or `retired`.
    pub state: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time of its next state change: a next key signs, an active one gets a published
    /// successor, a retired one is removed.
    pub until: Option<Timestamp>,
}

/// A generated key that can replace a revoked one.
pub struct Spare(NewKey);

/// The result of revoking a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The `kid` of the active key.
    pub signing: String,
}

/// Deletes every signing key in the caller's unit of work, and returns their `kid`s. Nodes started
/// afterwards accept none of their tokens: they generate a new key.
///
/// # Errors
/// The database error.
pub fn remove_all(tx: &mut Tx<'_>) -> QueryResult<Vec<String>> {
    let kids = queries::load(tx.connection())?.into_iter().map(|row| row.kid).collect();
    queries::delete_all(tx.connection())?;
    Ok(kids)
}

/// Checks that every stored key can be decrypted; changes nothing.
///
/// # Errors
/// [`KeysError`]: above all, a secret that does not decrypt them.
async fn examine(db: &Database, seal: &Seal) -> Result<(), KeysError> {
    db.read(queries::load).await?.iter().try_for_each(|row| row.open(seal).map(drop))
}

impl KeyPolicy {
    /// How long a revoked key must stay on the blocklist: as long as any verifier may accept tokens
    /// forged with it.
    #[must_use]
    pub fn trusted_for(&self) -> Duration {
        self.max_token_age.max(self.jwks_max_age + VERIFIER_GRACE)
    }
}

/// Administration of the stored keys. Unlike [`Keys`] it does no maintenance: the running service
/// decides when a key is due, and its algorithm.
#[derive(Clone)]
pub struct KeyAdmin {
    db: Database,
    clock: Clock,
    seal: Seal,
    policy: KeyPolicy,
}

impl Keys {
    /// The administration of these keys.
    #[must_use]
    pub fn admin(&self) -> KeyAdmin {
        let (db, clock) = (self.db.clone(), self.clock.clone());
        KeyAdmin { db, clock, seal: self.seal.clone(), policy: self.policy }
    }
}

impl KeyAdmin {
    /// Opens the administration of a database's keys; changes nothing.
    ///
    /// # Errors
    /// [`KeysError`]: above all, a secret that does not decrypt them, with which no other key may
    /// be created.
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

    /// Publishes the next key now, unless there is one already; it signs when every cached JWKS
    /// must contain it. Returns the next key.
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay unchanged.
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
        let missing = || KeysError::Unusable("(new)".into(), "it is missing".into());
        next.map(|row| self.status(row)).ok_or_else(missing)
    }

    /// Removes the next key, which has signed nothing; false when it is not the next key (any
    /// more).
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

    /// Generates a key that can replace a revoked one ([`KeyAdmin::revoke`]).
    ///
    /// # Errors
    /// [`KeysError::Unusable`] when the system cannot generate one.
    pub async fn generate_spare(&self) -> Result<Spare, KeysError> {
        self.generate().await.map(Spare)
    }

    /// [`KeyPolicy::trusted_for`].
    #[must_use]
    pub fn trusted_for(&self) -> Duration {
        self.policy.trusted_for()
    }

    /// Removes a key in the caller's unit of work. If it was active, another one becomes active
    /// immediately: the next key, or else the spare one. `None` when there is no such key.
    ///
    /// # Errors
    /// The database error.
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

    /// A key with the algorithm of the active one: the operator's shell may have other settings
    /// than the service.
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
