//! Access tokens whose signatures were found right. Checking one costs more than all the rest of a
//! request, and the answer never changes.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::secret::sha256;
use crate::tokens::{MAX_LENGTH, Signed, TokenError, VerifyingKey, verify_signature};

/// Tokens that are remembered, about 600 bytes each: 2.4 MB of the 64 MiB that the service may take.
const CAPACITY: usize = 4_000;

/// Clones share it. Tokens are known by their SHA-256: a token in full would be a password kept in
/// memory. Only what was signed here and is good gets in, so a stranger cannot push others out; when
/// it is full, what was not asked for lately goes (S3-FIFO).
#[derive(Clone)]
pub(super) struct VerifiedTokenCache(Arc<Cache<[u8; 32], Signed>>);

impl VerifiedTokenCache {
    pub fn new() -> Self {
        Self::of_size(CAPACITY)
    }

    fn of_size(tokens: usize) -> Self {
        Self(Arc::new(Cache::new(tokens)))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
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
        let signed = verify_signature(token, key)?;
        check(&signed)?;
        self.0.insert(hash, signed.clone());
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use uuid::Uuid;

    use super::*;
    use crate::tokens::{Algorithm, Claims, SigningKey, TokenId};

    #[test]
    fn tokens_beyond_the_capacity_evict_others_and_still_verify() {
        const SMALL_CAPACITY: usize = 16;
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(alg, &SystemRandom::new()).unwrap();
        let signer = SigningKey::from_pkcs8(Algorithm::Es256, der.as_ref()).unwrap();
        let key = Arc::new(VerifyingKey::from(signer.jwk()));
        let verified = VerifiedTokenCache::of_size(SMALL_CAPACITY);
        let tokens: Vec<String> = (0..200)
            .map(|n| {
                let claims = Claims {
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
                };
                signer.sign(&claims).unwrap()
            })
            .collect();
        for token in tokens.iter().chain(&tokens) {
            verified.read(token, |_| Some(Arc::clone(&key)), |_| Ok(())).unwrap();
            assert!(verified.len() <= SMALL_CAPACITY, "{}", verified.len());
        }
        let before = verified.len();
        assert!(before > 0);
        // A forgery takes no place.
        let forged = format!("{}AAAA", &tokens[0][..tokens[0].len() - 4]);
        let refused = verified.read(&forged, |_| Some(Arc::clone(&key)), |_| Ok(()));
        assert_eq!(refused.unwrap_err(), TokenError::Signature);
        assert_eq!(verified.len(), before);
    }
}
