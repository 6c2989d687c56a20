//! Keys that sign access tokens, and keys that check them.
//!
//! The library's provider is named, not looked up: a service that embeds the verifier may have
//! `jsonwebtoken` with two backends, and the lookup panics then.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::jwk::{Algorithm, Jwk, KeyError, PublicKey};
use super::{Claims, low_s};

/// A key that signs access tokens. It is wiped when dropped.
pub struct SigningKey {
    jwk: Jwk,
    /// The first part of every token: it is the same for all.
    header: String,
    key: EncodingKey,
}

/// A token that could not be signed: the library's doing, never the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign an access token: {0}")]
pub struct SignError(String);

impl SigningKey {
    /// Reads a private key from PKCS#8 in DER; the public key and its `kid`, the thumbprint, follow
    /// from it.
    ///
    /// # Errors
    /// [`KeyError::Private`] when it is not a key for this algorithm, or RSA under 2048 bits.
    pub fn from_pkcs8(alg: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let (key, public) = read_private(alg, der).ok_or(KeyError::Private(alg))?;
        let jwk = Jwk::new(public);
        // RFC 9068 2.1. Neither name needs escaping: one is ours, the other base64url.
        let header = format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{}"}}"#, jwk.kid());
        Ok(Self { header: URL_SAFE_NO_PAD.encode(header), jwk, key })
    }

    /// The name that its tokens call it by.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk.kid()
    }

    /// What it signs with.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        self.jwk.alg()
    }

    /// Its public half.
    #[must_use]
    pub const fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Makes a token: a JWS in compact form.
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
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.alg().for_crypto(), &self.key)
            .map_err(|error| SignError(error.to_string()))?;
        let mut signature =
            signer.try_sign(message).map_err(|error| SignError(error.to_string()))?;
        if self.alg() == Algorithm::Es256 {
            low_s::lower(&mut signature);
        }
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.alg(), self.kid())
    }
}

/// A key that checks access tokens, with the one algorithm that it is for.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: String,
    alg: Algorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    /// The name that tokens call it by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it checks with.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        self.alg
    }

    /// Whether the signature is this key's over the message, in its one spelling.
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        if self.alg == Algorithm::Es256 && !low_s::is_low(signature) {
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

/// The private key as the library wants it, and its public half.
fn read_private(alg: Algorithm, der: &[u8]) -> Option<(EncodingKey, PublicKey)> {
    let library = &DEFAULT_PROVIDER.key_utils;
    match alg {
        Algorithm::Es256 => {
            let (_, x, y) =
                (library.ec_pub_components_from_private_key)(der, alg.for_crypto()).ok()?;
            let public = PublicKey::P256 { x: x.try_into().ok()?, y: y.try_into().ok()? };
            Some((EncodingKey::from_ec_der(der), public))
        }
        Algorithm::EdDsa => {
            let curve = EllipticCurve::Ed25519;
            let x = (library.ed_pub_components_from_private_key)(der, &curve).ok()?;
            Some((EncodingKey::from_ed_der(der), PublicKey::Ed25519 { x: x.try_into().ok()? }))
        }
        Algorithm::Rs256 => {
            // For RSA alone the library wants the key without its PKCS#8 wrapping.
            let der = unwrap_pkcs8(der)?;
            let (n, e) = (library.rsa_pub_components_from_private_key)(der).ok()?;
            let public = PublicKey::Rsa { n, e };
            public.has_sound_size().then(|| (EncodingKey::from_rsa_der(der), public))
        }
    }
}

/// What PKCS#8 wraps (RFC 5958 2): `SEQUENCE { version, algorithm, OCTET STRING, … }`.
fn unwrap_pkcs8(der: &[u8]) -> Option<&[u8]> {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;

    let (outer, _) = element(SEQUENCE, der)?;
    let (_version, rest) = element(INTEGER, outer)?;
    let (_algorithm, rest) = element(SEQUENCE, rest)?;
    let (key, _attributes) = element(OCTET_STRING, rest)?;
    Some(key)
}

/// The content of the DER element that `der` begins with, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // The length's own length; no key has more than 64 KiB.
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}
