//! Signing keys: generated, published, activated, retired and removed; shared by all nodes through
//! the database.
//!
//! A key goes next → active → retired → removed ([`KeyState`]). It is in the JWKS before it signs,
//! so that a verifier that caches the JWKS has it in time, and until the last token that it signed
//! has expired. `schedule` defines the life cycle; [`Keys::maintain`] applies it.
//!
//! Private keys are encrypted under a key derived from the master secret: a stolen database cannot
//! sign.

pub mod admin;
mod generation;
mod lookup;
mod maintenance;
mod queries;
mod ring;
mod schedule;
mod seal;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;

pub use lookup::KeyLookup;
pub use ring::Jwks;
pub use schedule::KeyState;
pub use seal::Seal;

use crate::clock::Clock;
use crate::database::{Database, StoreError};
use crate::locks;
use crate::tokens::{Algorithm, SigningKey, VerifyingKey};
use maintenance::apply_schedule;
use ring::KeyRing;
use seal::reseal;

/// The settings of the life cycle.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// The algorithm of new keys.
    pub algorithm: Algorithm,
    /// How long a key signs.
    pub lifetime: Duration,
    /// How long clients may cache the JWKS.
    pub jwks_max_age: Duration,
    /// The lifetime of an access token plus the leeway of verifiers.
    pub max_token_age: Duration,
}

/// Why the keys are unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the secret nor the previous one decrypts a stored key.
    #[error(
        "the secret does not decrypt the signing keys in the database; set the secret that they \
         were created with (or set it as previous_secret, beside the new one)"
    )]
    WrongSecret,
    /// A stored key is damaged, or the system cannot generate a new one.
    #[error("the signing key {0} cannot be used: {1}")]
    Unusable(String, String),
}

/// The signing keys of this node. Clones share them.
#[derive(Clone)]
pub struct Keys {
    db: Database,
    clock: Clock,
    seal: Seal,
    policy: KeyPolicy,
    ring: Arc<RwLock<Arc<KeyRing>>>,
    lookups: lookup::LookupThrottle,
    /// Held from reading the stored keys until they are in use, so that no older read replaces a
    /// newer one.
    reload_lock: Arc<Mutex<()>>,
}

impl Keys {
    /// Decrypts the stored keys; generates the first one in an empty database.
    ///
    /// # Errors
    /// [`KeysError`]: above all, a secret that does not decrypt them.
    pub async fn load(
        db: Database,
        clock: Clock,
        seal: Seal,
        policy: KeyPolicy,
    ) -> Result<Self, KeysError> {
        reseal(&db, &seal).await?;
        let rows = apply_schedule(&db, &clock, &seal, &policy).await?;
        let ring = Arc::new(RwLock::new(Arc::new(KeyRing::build(&rows, &seal, &policy)?)));
        Ok(Self {
            db,
            clock,
            seal,
            policy,
            ring,
            lookups: lookup::LookupThrottle::default(),
            reload_lock: Arc::default(),
        })
    }

    /// Applies the state changes that are due, and loads those of other nodes.
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay unchanged.
    pub async fn maintain(&self) -> Result<(), KeysError> {
        let _reload_lock = self.reload_lock.lock().await;
        let rows = apply_schedule(&self.db, &self.clock, &self.seal, &self.policy).await?;
        let ring = Arc::new(KeyRing::build(&rows, &self.seal, &self.policy)?);
        *locks::write(&self.ring) = ring;
        Ok(())
    }

    /// The active key.
    #[must_use]
    pub fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.ring().signing)
    }

    /// The published key with this `kid`.
    #[must_use]
    pub fn verifying(&self, kid: &str) -> Option<Arc<VerifyingKey>> {
        self.ring().verifying.get(kid).map(Arc::clone)
    }

    /// The published keys.
    #[must_use]
    pub fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.ring().jwks)
    }

    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&locks::read(&self.ring))
    }
}
