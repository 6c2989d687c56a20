//! New signing keys.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::{KeysError, Seal};
use crate::tokens::{Algorithm, SigningKey};

/// A key that is not stored yet.
pub(super) struct NewKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub sealed: Vec<u8>,
    pub jwk: String,
}

/// Generates a key and encrypts it.
pub(super) async fn generate(algorithm: Algorithm, seal: &Seal) -> Result<NewKey, KeysError> {
    let failed =
        |cause: &dyn std::fmt::Display| KeysError::Unusable("(new)".into(), cause.to_string());
    let der = tokio::task::spawn_blocking(move || pkcs8(algorithm))
        .await
        .map_err(|e| failed(&e))?
        .map_err(|e| failed(&e))?;
    let key = SigningKey::from_pkcs8(algorithm, &der).map_err(|e| failed(&e))?;
    let jwk = serde_json::to_string(key.jwk()).map_err(|e| failed(&e))?;
    let sealed = seal.current.seal(&der, key.kid().as_bytes());
    Ok(NewKey { kid: key.kid().to_owned(), algorithm, sealed, jwk })
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
        // 3072 bits are considered secure beyond 2030 (NIST SP 800-57 part 1, table 2).
        Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa3072)?.as_der()?.as_ref().to_vec(),
    };
    Ok(Zeroizing::new(der))
}
