//! The keys in use by this node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::queries::KeyRow;
use super::{KeyPolicy, KeyState, KeysError, Seal};
use crate::secret::sha256;
use crate::tokens::{Jwk, SigningKey, VerifyingKey};

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

pub(super) struct KeyRing {
    pub(super) signing: Arc<SigningKey>,
    pub(super) verifying: HashMap<String, Arc<VerifyingKey>>,
    pub(super) jwks: Arc<Jwks>,
}

impl KeyRing {
    pub(super) fn build(
        rows: &[KeyRow],
        seal: &Seal,
        policy: &KeyPolicy,
    ) -> Result<Self, KeysError> {
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
