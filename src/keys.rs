//! Signing keys: made, published, used, retired and removed; shared by all nodes through the
//! database.
//!
//! A key goes next → active → retired → removed ([`State`]). It stands in the JWKS before it signs,
//! so that a verifier that caches the JWKS has it in time, and until the last token that it signed
//! has expired. `schedule` is the whole life cycle; [`Keys::maintain`] carries it out.
//!
//! Private keys are sealed under a key derived from the master secret: a stolen database signs
//! nothing.

mod lookup;

pub use lookup::Lookup;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use aws_lc_rs::{encoding::AsDer as _, rand::SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use zeroize::Zeroizing;

use crate::clock::{Clock, Timestamp};
use crate::database::schema::signing_keys;
use crate::database::{AnyConnection, Database, StoreError};
use crate::secret::{DerivedKey, sha256};
use crate::tokens::{Algorithm, Jwk, SigningKey, VerifyingKey};

/// Time beyond the JWKS cache's and the tokens' own: for clocks that differ, caches that refresh
/// late, and nodes that look after their keys once a minute.
const MARGIN: Duration = Duration::from_secs(180);

/// The settings of the life cycle.
#[derive(Clone, Copy, Debug)]
pub struct KeyPolicy {
    /// What new keys are for.
    pub algorithm: Algorithm,
    /// How long a key signs.
    pub lifetime: Duration,
    /// How long others may cache the JWKS.
    pub jwks_max_age: Duration,
    /// The life of an access token plus the leeway that verifiers grant.
    pub token_life: Duration,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the secret nor the previous one opens a stored key.
    #[error(
        "the secret does not open the signing keys in the database; give the secret that they were made with (or give it as secret_previous, beside the new one)"
    )]
    WrongSecret,
    /// A stored key is damaged, or the system cannot make a new one.
    #[error("the signing key {0} cannot be used: {1}")]
    Unusable(String, String),
}

/// The published keys, as they are served.
#[derive(Debug)]
pub struct Jwks {
    /// The JWK Set (RFC 7517).
    pub body: String,
    /// A strong entity tag of it, quotes included.
    pub etag: String,
    /// How long it may be cached.
    pub max_age: Duration,
}

/// The signing keys of this node. Clones share them.
#[derive(Clone)]
pub struct Keys {
    db: Database,
    clock: Clock,
    seal: Seal,
    policy: KeyPolicy,
    ring: Arc<RwLock<Arc<Ring>>>,
    lookups: lookup::Lookups,
}

struct Ring {
    signing: Arc<SigningKey>,
    verifying: HashMap<String, Arc<VerifyingKey>>,
    jwks: Arc<Jwks>,
}

impl Keys {
    /// Opens the stored keys, making the first one on an empty database.
    ///
    /// # Errors
    /// [`KeysError`]: above all, a secret that does not open them.
    pub async fn load(
        db: Database,
        clock: Clock,
        seal: Seal,
        policy: KeyPolicy,
    ) -> Result<Self, KeysError> {
        reseal(&db, &seal).await?;
        let rows = carry_out(&db, &clock, &seal, &policy).await?;
        let ring = Arc::new(RwLock::new(Arc::new(Ring::build(&rows, &seal, &policy)?)));
        Ok(Self { db, clock, seal, policy, ring, lookups: lookup::Lookups::default() })
    }

    /// Does what the life cycle wants done by now, and takes over what other nodes did.
    ///
    /// # Errors
    /// [`KeysError`]; the keys stay as they were.
    pub async fn maintain(&self) -> Result<(), KeysError> {
        let rows = carry_out(&self.db, &self.clock, &self.seal, &self.policy).await?;
        let ring = Arc::new(Ring::build(&rows, &self.seal, &self.policy)?);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }

    /// The key that signs now.
    #[must_use]
    pub fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.ring().signing)
    }

    /// The published key that `kid` names.
    #[must_use]
    pub fn verifying(&self, kid: &str) -> Option<Arc<VerifyingKey>> {
        self.ring().verifying.get(kid).map(Arc::clone)
    }

    /// The published keys.
    #[must_use]
    pub fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.ring().jwks)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ring {
    fn build(rows: &[KeyRow], seal: &Seal, policy: &KeyPolicy) -> Result<Self, KeysError> {
        let mut verifying = HashMap::new();
        let mut published = Vec::new();
        for row in rows {
            let jwk: Jwk = serde_json::from_str(&row.jwk).map_err(|e| row.unusable(&e))?;
            let key = VerifyingKey::from(&jwk);
            verifying.insert(row.kid.clone(), Arc::new(key));
            published.push(jwk);
        }
        let active = rows.iter().find(|row| row.state == State::Active.as_str());
        let signing = active
            .ok_or_else(|| KeysError::Unusable("(none)".into(), "no key is active".into()))?
            .open(seal)?;
        let body = serde_json::json!({ "keys": published }).to_string();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(body.as_bytes())[..16]));
        let jwks = Arc::new(Jwks { body, etag, max_age: policy.jwks_max_age });
        Ok(Self { signing: Arc::new(signing), verifying, jwks })
    }
}

/// The key that seals, and the one before it, which still opens.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Seals and opens.
    pub current: DerivedKey,
    /// Opens only: set while the master secret is being changed.
    pub previous: Option<DerivedKey>,
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Published, waiting until every cache has it.
    Next,
    /// Signs.
    Active,
    /// Verifies what it signed.
    Retired,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// What is to be done now, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Schedule {
    remove: Vec<String>,
    retire: Option<String>,
    activate: Option<String>,
    create: Option<State>,
}

/// The life cycle: what the rows, at this moment, call for.
fn schedule(rows: &[KeyRow], policy: &KeyPolicy, now: Timestamp) -> Schedule {
    let publish = policy.jwks_max_age + MARGIN;
    let find = |state: State| rows.iter().find(|row| row.state == state.as_str());
    let mut schedule = Schedule {
        remove: rows
            .iter()
            .filter(|row| {
                row.retired_at.is_some_and(|at| at.plus(policy.token_life + MARGIN) < now)
            })
            .map(|row| row.kid.clone())
            .collect(),
        ..Schedule::default()
    };
    match (find(State::Active), find(State::Next)) {
        // Nobody can have cached a JWKS without it.
        (None, None) => schedule.create = Some(State::Active),
        (None, Some(next)) => schedule.activate = Some(next.kid.clone()),
        (Some(active), Some(next)) if next.created_at.plus(publish) <= now => {
            schedule.retire = Some(active.kid.clone());
            schedule.activate = Some(next.kid.clone());
        }
        (Some(_), Some(_)) => {}
        (Some(active), None) => {
            let due = active.activated_at.unwrap_or(active.created_at).plus(policy.lifetime);
            if due.minus(publish) <= now || active.alg != policy.algorithm.as_str() {
                schedule.create = Some(State::Next);
            }
        }
    }
    schedule
}

/// Carries the schedule out and answers the rows as they are then.
async fn carry_out(
    db: &Database,
    clock: &Clock,
    seal: &Seal,
    policy: &KeyPolicy,
) -> Result<Vec<KeyRow>, KeysError> {
    let rows = db.read(load).await?;
    let wanted = schedule(&rows, policy, clock.now());
    if wanted == Schedule::default() {
        return Ok(rows);
    }
    // Made outside the unit of work: an RSA key takes a good part of a second.
    let spare = match wanted.create {
        Some(_) => Some(generate(policy.algorithm, seal).await?),
        None => None,
    };
    let (clock, policy) = (clock.clone(), *policy);
    let rows = db
        .write(move |tx| {
            let (c, now) = (tx.connection(), clock.now());
            let rows = load(c)?;
            let todo = schedule(&rows, &policy, now);
            for kid in &todo.remove {
                diesel::delete(signing_keys::table.find(kid)).execute(c)?;
            }
            if let Some(kid) = &todo.retire {
                set_state(c, kid, State::Retired)?;
                diesel::update(signing_keys::table.find(kid))
                    .set(signing_keys::retired_at.eq(now))
                    .execute(c)?;
            }
            if let Some(kid) = &todo.activate {
                set_state(c, kid, State::Active)?;
                diesel::update(signing_keys::table.find(kid))
                    .set(signing_keys::activated_at.eq(now))
                    .execute(c)?;
            }
            if let (Some(state), Some(new)) = (todo.create, &spare) {
                insert(c, new, state, policy.algorithm, now)?;
            }
            load(c)
        })
        .await?;
    tracing::info!(event = "signing_keys_changed", keys = rows.len());
    Ok(rows)
}

/// Seals under the present secret what only the previous one opens, so that the previous one can be
/// dropped.
async fn reseal(db: &Database, seal: &Seal) -> Result<(), KeysError> {
    let mut changed = Vec::new();
    for row in db.read(load).await? {
        if seal.current.open(&row.sealed, row.kid.as_bytes()).is_err() {
            let plain = seal.open(&row.sealed, &row.kid)?;
            changed.push((row.kid.clone(), seal.current.seal(&plain, row.kid.as_bytes())));
        }
    }
    if !changed.is_empty() {
        db.write(move |tx| {
            for (kid, sealed) in &changed {
                diesel::update(signing_keys::table.find(kid))
                    .set(signing_keys::sealed.eq(sealed))
                    .execute(tx.connection())?;
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

struct NewKey {
    kid: String,
    sealed: Vec<u8>,
    jwk: String,
}

async fn generate(algorithm: Algorithm, seal: &Seal) -> Result<NewKey, KeysError> {
    let failed =
        |cause: &dyn std::fmt::Display| KeysError::Unusable("(new)".into(), cause.to_string());
    let der = tokio::task::spawn_blocking(move || pkcs8(algorithm))
        .await
        .map_err(|e| failed(&e))?
        .map_err(|e| failed(&e))?;
    let key = SigningKey::from_pkcs8(algorithm, &der).map_err(|e| failed(&e))?;
    let jwk = serde_json::to_string(key.jwk()).map_err(|e| failed(&e))?;
    let sealed = seal.current.seal(&der, key.kid().as_bytes());
    Ok(NewKey { kid: key.kid().to_owned(), sealed, jwk })
}

/// A new private key in PKCS#8.
fn pkcs8(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, aws_lc_rs::error::Unspecified> {
    let der = match algorithm {
        Algorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?
                .as_ref()
                .to_vec()
        }
        Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?.as_ref().to_vec(),
        // 3072 bits are good beyond 2030 (NIST SP 800-57 part 1, table 2).
        Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa3072)?.as_der()?.as_ref().to_vec(),
    };
    Ok(Zeroizing::new(der))
}

#[derive(Clone, Queryable)]
struct KeyRow {
    kid: String,
    alg: String,
    sealed: Vec<u8>,
    jwk: String,
    state: String,
    created_at: Timestamp,
    activated_at: Option<Timestamp>,
    retired_at: Option<Timestamp>,
}

impl KeyRow {
    fn open(&self, seal: &Seal) -> Result<SigningKey, KeysError> {
        let algorithm = self.alg.parse().map_err(|e| self.unusable(&e))?;
        let der = seal.open(&self.sealed, &self.kid)?;
        SigningKey::from_pkcs8(algorithm, &der).map_err(|e| self.unusable(&e))
    }

    fn unusable(&self, cause: &dyn std::fmt::Display) -> KeysError {
        KeysError::Unusable(self.kid.clone(), cause.to_string())
    }
}

fn load(connection: &mut AnyConnection) -> QueryResult<Vec<KeyRow>> {
    signing_keys::table.order(signing_keys::created_at.desc()).load(connection)
}

fn set_state(connection: &mut AnyConnection, kid: &str, state: State) -> QueryResult<usize> {
    diesel::update(signing_keys::table.find(kid))
        .set(signing_keys::state.eq(state.as_str()))
        .execute(connection)
}

/// Inserts the key unless another node was first: one key at most is active, and one is next.
fn insert(
    connection: &mut AnyConnection,
    new: &NewKey,
    state: State,
    algorithm: Algorithm,
    now: Timestamp,
) -> QueryResult<usize> {
    let activated_at = (state == State::Active).then_some(now.as_micros());
    let row = (
        signing_keys::kid.eq(&new.kid),
        signing_keys::alg.eq(algorithm.as_str()),
        signing_keys::sealed.eq(&new.sealed),
        signing_keys::jwk.eq(&new.jwk),
        signing_keys::state.eq(state.as_str()),
        signing_keys::created_at.eq(now),
        signing_keys::activated_at.eq(activated_at),
    );
    let table = signing_keys::table;
    match connection {
        AnyConnection::Sqlite(c) => {
            diesel::insert_into(table).values(row).on_conflict_do_nothing().execute(c)
        }
        AnyConnection::Postgres(c) => {
            diesel::insert_into(table).values(row).on_conflict_do_nothing().execute(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: KeyPolicy = KeyPolicy {
        algorithm: Algorithm::Es256,
        lifetime: Duration::from_secs(90 * 86400),
        jwks_max_age: Duration::from_secs(600),
        token_life: Duration::from_secs(630),
    };

    fn row(kid: &str, state: State, at: i64) -> KeyRow {
        let at = Timestamp::from_unix_seconds(at);
        KeyRow {
            kid: kid.into(),
            alg: "ES256".into(),
            sealed: Vec::new(),
            jwk: String::new(),
            state: state.as_str().into(),
            created_at: at,
            activated_at: (state != State::Next).then_some(at),
            retired_at: (state == State::Retired).then_some(at),
        }
    }

    fn at(rows: &[KeyRow], seconds: i64) -> Schedule {
        schedule(rows, &POLICY, Timestamp::from_unix_seconds(seconds))
    }

    #[test]
    fn an_empty_database_gets_an_active_key() {
        assert_eq!(at(&[], 0), Schedule { create: Some(State::Active), ..Schedule::default() });
    }

    #[test]
    fn a_new_key_is_published_a_cache_life_before_the_old_one_is_due() {
        let rows = [row("a", State::Active, 0)];
        let due = 90 * 86400 - 780;
        assert_eq!(at(&rows, due - 1), Schedule::default());
        assert_eq!(at(&rows, due), Schedule { create: Some(State::Next), ..Schedule::default() });
    }

    #[test]
    fn a_new_key_signs_only_when_every_cache_has_it() {
        let rows = [row("a", State::Active, 0), row("b", State::Next, 1000)];
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
        let rows = [row("a", State::Retired, 1000), row("b", State::Active, 1000)];
        assert_eq!(at(&rows, 1810), Schedule::default());
        assert_eq!(at(&rows, 1811), Schedule { remove: vec!["a".into()], ..Schedule::default() });
    }

    #[test]
    fn another_algorithm_in_the_configuration_publishes_a_key_for_it() {
        let rows = [KeyRow { alg: "EdDSA".into(), ..row("a", State::Active, 0) }];
        assert_eq!(at(&rows, 1), Schedule { create: Some(State::Next), ..Schedule::default() });
    }
}
