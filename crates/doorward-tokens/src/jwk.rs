//! Public keys as JSON (RFC 7517), with their algorithms.

mod algorithm;
mod members;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::ThumbprintHash;
use serde::{Deserialize, Serialize};

pub use algorithm::{Algorithm, UnknownAlgorithm};

use members::Members;

/// The length of an RSA modulus in bytes: 2048 to 8192 bits.
const RSA_MODULUS: RangeInclusive<usize> = 256..=1024;

/// The length of an RSA exponent in bytes; nearly all are 65537, three bytes.
const RSA_EXPONENT: RangeInclusive<usize> = 1..=8;

/// Why a key is not usable for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A private key that is not PKCS#8 for the algorithm, or is too weak for it.
    #[error("not a PKCS#8 private key for {0}")]
    Private(Algorithm),
    /// A JWK of an algorithm that Doorward does not use.
    #[error("not the public key of a known algorithm, for signatures")]
    Kind,
    /// A JWK whose numbers are missing, not base64url, or out of range.
    #[error("a number of the public key is missing or out of range")]
    Number,
}

/// A public key as published in the key set. The type cannot hold a private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Members", try_from = "Members")]
pub struct Jwk {
    kid: String,
    key: PublicKey,
}

/// The numbers of a public key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// The number of thumbprint characters in the `kid` of Doorward's own keys: 66 bits.
pub(crate) const KID_LENGTH: usize = 11;

impl PublicKey {
    /// Whether its numbers have valid lengths for the algorithm. For elliptic curves the types
    /// ensure it.
    pub(super) fn has_valid_size(&self) -> bool {
        match self {
            Self::Rsa { n, e } => RSA_MODULUS.contains(&n.len()) && RSA_EXPONENT.contains(&e.len()),
            Self::P256 { .. } | Self::Ed25519 { .. } => true,
        }
    }
}

impl Jwk {
    /// A key with its own `kid`: the beginning of its thumbprint, long enough to distinguish a few
    /// keys. The whole thumbprint would be a tenth of every access token.
    pub(super) fn new(key: PublicKey) -> Self {
        let mut kid = thumbprint(&key);
        kid.truncate(KID_LENGTH);
        Self { kid, key }
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its only algorithm.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        match self.key {
            PublicKey::P256 { .. } => Algorithm::Es256,
            PublicKey::Ed25519 { .. } => Algorithm::EdDsa,
            PublicKey::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The SHA-256 thumbprint (RFC 7638 3), whose beginning is the `kid` of Doorward's own keys.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.key)
    }

    pub(super) fn for_crypto(&self) -> DecodingKey {
        match &self.key {
            // The uncompressed point (SEC 1 2.3.3), which the library calls "DER".
            PublicKey::P256 { x, y } => DecodingKey::from_ec_der(&[[4].as_slice(), x, y].concat()),
            PublicKey::Ed25519 { x } => DecodingKey::from_ed_der(x),
            PublicKey::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
        }
    }
}

/// RFC 7638 3.2: only the required members, sorted by name, without white space.
fn thumbprint(key: &PublicKey) -> String {
    let text = match key {
        PublicKey::P256 { x, y } => {
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
        PublicKey::Ed25519 { x } => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
        PublicKey::Rsa { n, e } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
        }
    };
    #[expect(clippy::expect_used, reason = "the library's signature allows for other providers")]
    let digest =
        (DEFAULT_PROVIDER.key_utils.compute_digest)(text.as_bytes(), ThumbprintHash::SHA256)
            .expect("SHA-256 digests every text");
    encode(&digest)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
