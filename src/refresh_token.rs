//! The format of refresh tokens: `dwr_` and base64url of version ‖ session id ‖ generation ‖ family
//! secret ‖ tag.
//!
//! The tag, under a key derived from the master secret, detects a forgery before the database is
//! queried. The family secret, of which the database holds only the hash, cannot be derived from a
//! stolen master secret. Only the family secret is random, so the successor of a token is computed
//! and not stored: every repeated request gets the same one.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::{DerivedKey, equal, random_bytes, sha256};

/// The prefix of every token, so that people and secret scanners recognise it.
const PREFIX: &str = "dwr_";

/// The version of the format, the first byte of every token.
const VERSION: u8 = 1;

/// Bytes of the session's id.
const ID_BYTES: usize = 16;

/// Bytes of the generation.
const GENERATION_BYTES: usize = 4;

/// Bytes of the family secret.
const FAMILY_BYTES: usize = 16;

/// Bytes of the tag. 2^128 tags cannot be tried against an online service.
const TAG_BYTES: usize = 16;

/// Bytes that the tag covers.
const BODY_BYTES: usize = 1 + ID_BYTES + GENERATION_BYTES + FAMILY_BYTES;

/// A refresh token issued by this service: its tag is valid.
#[derive(Clone)]
pub struct RefreshToken {
    /// The session that it belongs to.
    pub session: Uuid,
    /// Its number among the session's tokens, counted from zero.
    pub generation: u32,
    family: FamilySecret,
}

/// The secret shared by all tokens of a session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FamilySecret([u8; FAMILY_BYTES]);

impl FamilySecret {
    /// Generates a new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    /// The stored form: its SHA-256, which is enough for 128 random bits.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}

impl RefreshToken {
    /// The first token of a session.
    #[must_use]
    pub const fn first(session: Uuid, family: FamilySecret) -> Self {
        Self { session, generation: 0, family }
    }

    /// The token of the same session with another generation.
    #[must_use]
    pub fn at_generation(&self, generation: u32) -> Self {
        Self { generation, ..self.clone() }
    }

    /// The digest that the database must hold for the token's session.
    #[must_use]
    pub fn family_digest(&self) -> [u8; 32] {
        self.family.digest()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, generation, .. } = self;
        write!(f, "RefreshToken({session}, generation {generation})")
    }
}

/// A text that is not a refresh token of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token of this service")]
pub struct Malformed;

/// The keys of the tags: the current one and, while the master secret is being rotated, the
/// previous one.
#[derive(Clone, Debug)]
pub struct TagKeys {
    current: DerivedKey,
    previous: Option<DerivedKey>,
}

impl TagKeys {
    /// Creates tags with `current`, and accepts the tags of both.
    #[must_use]
    pub const fn new(current: DerivedKey, previous: Option<DerivedKey>) -> Self {
        Self { current, previous }
    }

    /// The token's text. It is a secret.
    #[must_use]
    pub fn encode(&self, token: &RefreshToken) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(token.session.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        bytes.extend_from_slice(&token.family.0);
        let mac = self.current.mac(&bytes);
        bytes.extend_from_slice(&mac[..TAG_BYTES]);
        let text = PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(&bytes);
        bytes.zeroize();
        text
    }

    /// Parses a token.
    ///
    /// # Errors
    /// [`Malformed`] when this text was not issued here: a single changed bit is enough.
    pub fn decode(&self, text: &str) -> Result<RefreshToken, Malformed> {
        let encoded = text.strip_prefix(PREFIX).ok_or(Malformed)?;
        // The exact length first, so that megabytes are never decoded.
        let mut bytes = [0; BODY_BYTES + TAG_BYTES];
        if encoded.len() != (BODY_BYTES + TAG_BYTES) * 4 / 3 + 1 {
            return Err(Malformed);
        }
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).map_err(|_| Malformed)?;
        let (body, tag) = bytes.split_at(BODY_BYTES);
        let genuine = |key: &DerivedKey| equal(&key.mac(body)[..TAG_BYTES], tag);
        let known = genuine(&self.current) || self.previous.as_ref().is_some_and(genuine);
        if length != BODY_BYTES + TAG_BYTES || body[0] != VERSION || !known {
            return Err(Malformed);
        }
        let token = RefreshToken {
            session: Uuid::from_bytes(part(body, 1)),
            generation: u32::from_be_bytes(part(body, 1 + ID_BYTES)),
            family: FamilySecret(part(body, 1 + ID_BYTES + GENERATION_BYTES)),
        };
        bytes.zeroize();
        Ok(token)
    }
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[from + i])
}
