//! Access tokens whose signatures have been verified. Verifying one costs more than the rest of a
//! request, and the result never changes.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;

use crate::{MAX_LENGTH, Signed, TokenError, VerifyingKey, verify_signature};

/// A bounded cache of tokens by their SHA-256, because the token itself is a credential and must
/// not stay in memory. The hash is over the whole text, signature included.
///
/// Only tokens with a valid signature are stored, so an attacker cannot evict others. When it is
/// full, the entries that were not used lately are evicted first (S3-FIFO).
///
/// `T` is kept for each token: [`Signed`], or a type that adds values derived from it.
pub struct VerifiedTokenCache<T = Signed>(Cache<[u8; 32], Arc<T>>);

impl<T: AsRef<Signed> + From<Signed>> VerifiedTokenCache<T> {
    /// A cache of at most `capacity` tokens, about 600 bytes each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Cache::new(capacity))
    }

    /// The number of tokens in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token's signature. A cached result is used only while `key` returns the key
    /// object that it was verified with. The claims are not checked: their validity depends on the
    /// time.
    ///
    /// # Errors
    /// [`TokenError`], as [`verify_signature`].
    pub fn verify_signature(
        &self,
        token: &str,
        key: impl Fn(&str) -> Option<Arc<VerifyingKey>>,
    ) -> Result<Arc<T>, TokenError> {
        if token.len() > MAX_LENGTH {
            return Err(TokenError::Malformed);
        }
        let hash = sha256(token);
        let is_current = |known: &Arc<VerifyingKey>| {
            key(known.kid()).is_some_and(|current| Arc::ptr_eq(&current, known))
        };
        if let Some(known) = self.0.get(&hash).filter(|known| is_current(&(**known).as_ref().key)) {
            return Ok(known);
        }
        let verified = Arc::new(T::from(verify_signature(token, key)?));
        self.0.insert(hash, Arc::clone(&verified));
        Ok(verified)
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use uuid::Uuid;

    use super::*;
    use crate::{Algorithm, Claims, SigningKey, TokenId};

    const SMALL_CAPACITY: usize = 16;

    fn signer() -> SigningKey {
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
        SigningKey::from_pkcs8(Algorithm::Es256, der.as_ref()).unwrap()
    }

    fn claims(n: u64) -> Claims {
        Claims {
            iss: "issuer".into(),
            sub: Uuid::nil(),
            aud: "audience".into(),
            exp: 1,
            iat: 0,
            jti: TokenId::from_bits(n),
            client_id: "client".into(),
            sid: None,
            scope: None,
            roles: Vec::new(),
            ext: None,
            auth_time: None,
            amr: Vec::new(),
        }
    }

    #[test]
    fn a_full_cache_evicts_tokens_and_still_verifies_all_of_them() {
        let signer = signer();
        let key = Arc::new(VerifyingKey::from(signer.jwk()));
        let cache = VerifiedTokenCache::<Signed>::new(SMALL_CAPACITY);
        let tokens: Vec<String> = (0..200).map(|n| signer.sign(&claims(n)).unwrap()).collect();
        for token in tokens.iter().chain(&tokens) {
            cache.verify_signature(token, |_| Some(Arc::clone(&key))).unwrap();
            assert!(cache.len() <= SMALL_CAPACITY, "{}", cache.len());
        }
        let before = cache.len();
        assert!(before > 0);
        // A forgery is not stored.
        let forged = format!("{}AAAA", &tokens[0][..tokens[0].len() - 4]);
        let refused = cache.verify_signature(&forged, |_| Some(Arc::clone(&key)));
        assert_eq!(refused.unwrap_err(), TokenError::Signature);
        assert_eq!(cache.len(), before);
    }

    #[test]
    fn a_token_whose_key_is_gone_or_replaced_is_verified_again() {
        let signing_key = signer();
        let token = signing_key.sign(&claims(0)).unwrap();
        let cache = VerifiedTokenCache::<Signed>::new(SMALL_CAPACITY);
        let keys = [(); 2].map(|()| Arc::new(VerifyingKey::from(signing_key.jwk())));
        for key in &keys {
            let signed = cache.verify_signature(&token, |_| Some(Arc::clone(key))).unwrap();
            assert!(Arc::ptr_eq(&signed.key, key));
        }
        let gone = cache.verify_signature(&token, |_| None).unwrap_err();
        assert_eq!(gone, TokenError::UnknownKey(signing_key.kid().to_owned()));
    }
}
