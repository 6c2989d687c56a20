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
mod queries;
mod refresh;
mod schedule;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::QueryResult;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

pub use refresh::KeyLookup;
pub use schedule::KeyState;

use crate::audit::{self, Event, EventKind};
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, StoreError, Tx};
use crate::locks;
use crate::secret::{DerivedKey, sha256};
use crate::tokens::{Algorithm, Jwk, SigningKey, VerifyingKey};
use generation::{NewKey, generate};
use queries::KeyRow;
use schedule::{Schedule, schedule};

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

/// The published keys, as served.
#[derive(Debug)]
pub struct Jwks {
    /// The JWK Set (RFC 7517).
    pub body: String,
    /// Its strong entity tag, quotes included.
    pub etag: String,
    /// How long it may be cached.
    pub max_age: Duration,
    /// The `kid`s of its keys.
    pub kids: Vec<String>,
}

/// The signing keys of this node. Clones share them.
#[derive(Clone)]
pub struct Keys {
    db: Database,
    clock: Clock,
    seal: Seal,
    policy: KeyPolicy,
    ring: Arc<RwLock<Arc<KeyRing>>>,
    lookups: refresh::RefreshThrottle,
    /// Held from reading the stored keys until they are in use, so that no older read replaces a
    /// newer one.
    reload_lock: Arc<Mutex<()>>,
}

struct KeyRing {
    signing: Arc<SigningKey>,
    verifying: HashMap<String, Arc<VerifyingKey>>,
    jwks: Arc<Jwks>,
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
            lookups: refresh::RefreshThrottle::default(),
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

impl KeyRing {
    fn build(rows: &[KeyRow], seal: &Seal, policy: &KeyPolicy) -> Result<Self, KeysError> {
        let mut verifying = HashMap::new();
        let mut published = Vec::new();
        for row in rows {
            let jwk: Jwk = serde_json::from_str(&row.jwk).map_err(|e| row.unusable(&e))?;
            let key = VerifyingKey::from(&jwk);
            verifying.insert(row.kid.clone(), Arc::new(key));
            published.push(jwk);
        }
        let active = rows.iter().find(|row| row.is(KeyState::Active));
        let signing = active
            .ok_or_else(|| KeysError::Unusable("(none)".into(), "no key is active".into()))?
            .open(seal)?;
        let body = serde_json::json!({ "keys": published }).to_string();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(body.as_bytes())[..16]));
        let kids = rows.iter().map(|row| row.kid.clone()).collect();
        let jwks = Arc::new(Jwks { body, etag, max_age: policy.jwks_max_age, kids });
        Ok(Self { signing: Arc::new(signing), verifying, jwks })
    }
}

/// The keys for the encryption of private keys: the current one, and the previous one for
/// decryption.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Encrypts and decrypts.
    pub current: DerivedKey,
    /// Decrypts only: set while the master secret is being rotated.
    pub previous: Option<DerivedKey>,
}

/// Applies the schedule and returns the resulting rows.
async fn apply_schedule(
    db: &Database,
    clock: &Clock,
    seal: &Seal,
    policy: &KeyPolicy,
) -> Result<Vec<KeyRow>, KeysError> {
    let rows = db.read_without_timeout(queries::load).await?;
    let wanted = schedule(&rows, policy, clock.now());
    if wanted == Schedule::default() {
        return Ok(rows);
    }
    // Generated outside the unit of work: an RSA key takes a large part of a second.
    let spare = match wanted.create {
        Some(_) => Some(generate(policy.algorithm, seal).await?),
        None => None,
    };
    let (clock, policy) = (clock.clone(), *policy);
    let rows = db
        .write(move |tx| {
            let now = clock.now();
            let todo = schedule(&queries::load(tx.connection())?, &policy, now);
            for kid in &todo.remove {
                let rows = queries::delete(tx.connection(), kid)?;
                record(tx, EventKind::KeyRemoved, kid, rows, now)?;
            }
            if let Some(kid) = &todo.retire {
                let rows = queries::retire(tx.connection(), kid, now)?;
                record(tx, EventKind::KeyRetired, kid, rows, now)?;
            }
            if let Some(kid) = &todo.activate {
                let rows = queries::activate(tx.connection(), kid, now)?;
                record(tx, EventKind::KeyRotated, kid, rows, now)?;
            }
            if let (Some(state), Some(new)) = (todo.create, &spare) {
                create(tx, new, state, now)?;
            }
            queries::load(tx.connection())
        })
        .await?;
    Ok(rows)
}

/// Inserts a key unless another node was first.
fn create(tx: &mut Tx<'_>, new: &NewKey, state: KeyState, now: Timestamp) -> QueryResult<()> {
    let rows = queries::insert(tx.connection(), new, state, now)?;
    let kind =
        if state == KeyState::Active { EventKind::KeyRotated } else { EventKind::KeyPublished };
    record(tx, kind, &new.kid, rows, now)
}

/// Records the event of a state change, if it took place: another node may have been first.
fn record(
    tx: &mut Tx<'_>,
    event: EventKind,
    kid: &str,
    rows: usize,
    now: Timestamp,
) -> QueryResult<()> {
    if rows == 0 { Ok(()) } else { audit::record(tx, Event::new(event).detail(kid), now) }
}

/// Re-encrypts under the current secret the keys that only the previous one decrypts, so that the
/// previous one can be dropped.
async fn reseal(db: &Database, seal: &Seal) -> Result<(), KeysError> {
    let mut changed = Vec::new();
    for row in db.read(queries::load).await? {
        if seal.current.open(&row.sealed, row.kid.as_bytes()).is_err() {
            let plain = seal.open(&row.sealed, &row.kid)?;
            changed.push((row.kid.clone(), seal.current.seal(&plain, row.kid.as_bytes())));
        }
    }
    if !changed.is_empty() {
        db.write(move |tx| {
            for (kid, sealed) in &changed {
                queries::reseal(tx.connection(), kid, sealed)?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

impl Seal {
    fn open(&self, sealed: &[u8], kid: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let previous = self.previous.iter();
        std::iter::once(&self.current)
            .chain(previous)
            .find_map(|key| key.open(sealed, kid.as_bytes()).ok())
            .ok_or(KeysError::WrongSecret)
    }
}
