//! Keys that sign access tokens, and keys that verify them.
//!
//! `jsonwebtoken` verifies. Its provider is passed explicitly, not looked up: a service that embeds
//! the verifier may have two backends, and then the lookup panics. Signing uses the library below
//! it, which keeps a parsed private key: `jsonwebtoken` parses and checks it for each signature.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use super::jwk::{Algorithm, Jwk, KeyError, PublicKey};
use super::{Claims, ecdsa_low_s};

/// A key that signs access tokens. It is zeroized on drop.
pub struct SigningKey {
    jwk: Jwk,
    /// The encoded header, which is the same for all tokens.
    header: String,
    key: PrivateKey,
}

enum PrivateKey {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A token could not be signed: an error of the library, never of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign an access token: {0}")]
pub struct SignError(String);

impl SigningKey {
    /// Parses a private key in PKCS#8 DER, and derives the public key and its `kid`, the beginning
    /// of its thumbprint.
    ///
    /// # Errors
    /// [`KeyError::Private`] when it is not a key for this algorithm, or RSA outside 2048 to 8192
    /// bits.
    pub fn from_pkcs8(alg: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKey::read(alg, der).ok_or(KeyError::Private(alg))?;
        let jwk = Jwk::new(key.public().ok_or(KeyError::Private(alg))?);
        // RFC 9068 2.1. Neither value needs escaping: one is a constant, the other base64url.
        let header = format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{}"}}"#, jwk.kid());
        Ok(Self { header: URL_SAFE_NO_PAD.encode(header), jwk, key })
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.kid()
    }

    /// Its algorithm.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        self.jwk.alg()
    }

    /// Its public key.
    #[must_use]
    pub const fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Signs a token: a JWS in compact form.
    ///
    /// # Errors
    /// [`SignError`] when the library cannot sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        let claims = serde_json::to_vec(claims).map_err(|error| SignError(error.to_string()))?;
        let message = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.signature(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    pub(super) fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message).map_err(|error| SignError(error.to_string()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.alg(), self.kid())
    }
}

/// A key that verifies access tokens, with its only algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: String,
    alg: Algorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its algorithm.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        self.alg
    }

    /// Whether the signature is valid for this key and message, in its canonical form.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        if self.alg == Algorithm::Es256 && !ecdsa_low_s::is_low(signature) {
            return false;
        }
        (DEFAULT_PROVIDER.verifier_factory)(&self.alg.for_crypto(), &self.key)
            .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

impl From<&Jwk> for VerifyingKey {
    fn from(jwk: &Jwk) -> Self {
        Self { kid: jwk.kid().to_owned(), alg: jwk.alg(), key: jwk.for_crypto() }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({} {})", self.alg, self.kid)
    }
}

impl PrivateKey {
    fn read(alg: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        match alg {
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .ok()
                .map(Self::P256),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self::Ed25519),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(pkcs8).ok().map(Self::Rsa),
        }
    }

    /// `None` when the key is too small.
    fn public(&self) -> Option<PublicKey> {
        match self {
            Self::P256(key) => {
                // Uncompressed (SEC 1 2.3.3): the byte 4, then x and y.
                let (x, y) = key.public_key().as_ref().get(1..)?.split_first_chunk()?;
                Some(PublicKey::P256 { x: *x, y: y.try_into().ok()? })
            }
            Self::Ed25519(key) => {
                Some(PublicKey::Ed25519 { x: key.public_key().as_ref().try_into().ok()? })
            }
            Self::Rsa(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let [n, e] = [n, e].map(|it| it.big_endian_without_leading_zero().to_vec());
                Some(PublicKey::Rsa { n, e }).filter(PublicKey::has_valid_size)
            }
        }
    }

    /// The signature in the form of a token (RFC 7518 3.3 and 3.4, RFC 8037 3.1).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) => {
                let mut signature = key.sign(&random, message)?.as_ref().to_vec();
                ecdsa_low_s::lower(&mut signature);
                Ok(signature)
            }
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}
