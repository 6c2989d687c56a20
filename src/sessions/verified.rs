//! Access tokens whose signatures were found right. Checking one costs more than all the rest of a
//! request, and the answer never changes.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::secret::sha256;
use crate::tokens::{MAX_LENGTH, Signed, TokenError, VerifyingKey, authenticate};

/// Tokens that are remembered, about 600 bytes each.
const TOKENS: usize = 10_000;

/// Clones share it. Tokens are known by their SHA-256: a token in full would be a password kept in
/// memory. Only what was signed here and is good gets in, so a stranger cannot push others out; when
/// it is full, what was not asked for lately goes (S3-FIFO).
#[derive(Clone)]
pub(super) struct Verified(Arc<Cache<[u8; 32], Signed>>);

impl Verified {
    pub fn new() -> Self {
        Self(Arc::new(Cache::new(TOKENS)))
    }

    /// What the token says, if its signature is right and its key is still one that `key` finds,
    /// and `check` has nothing against it. Nothing of that is remembered but the signature.
    pub fn read(
        &self,
        token: &str,
        key: impl Fn(&str) -> Option<Arc<VerifyingKey>>,
        check: impl FnOnce(&Signed) -> Result<(), TokenError>,
    ) -> Result<Signed, TokenError> {
        if token.len() > MAX_LENGTH {
            return Err(TokenError::Malformed);
        }
        let hash = sha256(token.as_bytes());
        let holds =
            |own: &Arc<VerifyingKey>| key(own.kid()).is_some_and(|it| Arc::ptr_eq(&it, own));
        if let Some(signed) = self.0.get(&hash).filter(|signed| holds(&signed.key)) {
            check(&signed)?;
            return Ok(signed);
        }
        let signed = authenticate(token, key)?;
        check(&signed)?;
        self.0.insert(hash, signed.clone());
        Ok(signed)
    }
}
