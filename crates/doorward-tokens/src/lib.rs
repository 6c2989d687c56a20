//! Access tokens: claims, signing and verification.
//!
//! They are JWTs according to RFC 9068. `jsonwebtoken` is used only for the cryptography: it parses
//! headers and claims too leniently (RFC 8725), so [`verify`] does that itself. The order matters:
//! structure, type, key, signature; only then are claims checked, so that a forger learns nothing
//! from the error.

pub mod cache;
pub mod clock;
mod ecdsa_low_s;
mod jwk;
mod keys;
mod revocation_id;
mod size;
pub mod strict_json;
#[cfg(test)]
mod tests;
mod token_id;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use jwk::{Algorithm, Jwk, KeyError, UnknownAlgorithm};
pub use keys::{SignError, SigningKey, VerifyingKey};
pub use revocation_id::{revocation_id_of_kid, revocation_id_to_claim};
pub use size::{TokenSizeLimit, TokenTooLong};
pub use token_id::TokenId;

use crate::clock::Timestamp;
use crate::strict_json::Object;

/// The longest token that is parsed, in bytes. Doorward's have at most 4,000 (`tokens.max_bytes`);
/// most servers limit a header line to this length.
pub const MAX_LENGTH: usize = 8 * 1024;

/// How far in the future `iat` is accepted at least: the issuer's clock may be ahead.
const MIN_IAT_TOLERANCE: Duration = Duration::from_secs(60);

/// Header members that would provide a key or change how the token is parsed.
const REJECTED_HEADER_MEMBERS: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// The claims of an access token (RFC 9068 2.2, and `sid` for a user's session). None of them
/// contains user input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: Doorward's public URL.
    pub iss: String,
    /// The user, or the client itself in a token without a session.
    #[serde(deserialize_with = "canonical_uuid")]
    pub sub: Uuid,
    /// The audience of the token.
    pub aud: Audience,
    /// The expiry, in seconds since 1970: from then on the token is not valid.
    pub exp: i64,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// The token's id, by which it can be revoked.
    pub jti: TokenId,
    /// The client that it was issued to.
    pub client_id: String,
    /// The session that it belongs to; `None` for a client's own token.
    #[serde(default, deserialize_with = "canonical_sid", skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// The scope: names separated by spaces.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The user's roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Custom claims, which operators set.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub ext: Option<Map<String, Value>>,
    /// When the user was last authenticated, in seconds since 1970. A refresh does not change it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// The methods of that authentication (RFC 8176), such as `pwd`, `otp` and `mfa`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
}

impl Claims {
    /// Whether the user was authenticated at most `max_age` before `now`, with this tolerance for
    /// differences between clocks (RFC 9470). False for a token without `auth_time`.
    #[must_use]
    pub fn is_authenticated_within(
        &self,
        max_age: Duration,
        leeway: Duration,
        now: Timestamp,
    ) -> bool {
        self.auth_time.is_some_and(|seconds| {
            let limit = max_age.saturating_add(leeway);
            now <= Timestamp::from_unix_seconds(seconds).plus(limit)
        })
    }
}

/// The audience: one name or several (RFC 7519 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One name, as Doorward writes it.
    One(String),
    /// A list of names.
    Many(Vec<String>),
}

impl Audience {
    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl From<&str> for Audience {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

/// The requirements of a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The issuer, compared byte for byte.
    pub issuer: String,
    /// The name that must be in the audience.
    pub audience: String,
    /// The tolerated error of the verifier's clock. Zero at Doorward itself, which issued the
    /// token.
    pub leeway: Duration,
}

/// Why a token is rejected. The texts may be shown to its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS in compact form with the header of an access token.
    #[error("the access token is malformed")]
    Malformed,
    /// Another kind of token.
    #[error("the token is not an access token")]
    WrongType,
    /// No key has the token's `kid`. The `kid` is untrusted: it is stored for another lookup in the
    /// key set, not shown.
    #[error("the access token was signed with an unknown key")]
    UnknownKey(String),
    /// The header names another algorithm than the key's.
    #[error("the access token names an algorithm that is not its key's")]
    WrongAlgorithm,
    /// The signature is not valid for this key and text.
    #[error("the signature of the access token is wrong")]
    Signature,
    /// A claim is missing or has the wrong type.
    #[error("a claim of the access token is missing or of the wrong type")]
    Claims,
    /// It is bound to a key of its holder (`cnf`), so it must not be used as a plain bearer token.
    #[error("the access token is bound to a key and cannot be used as a bearer token")]
    Bound,
    /// It has another issuer.
    #[error("the access token comes from another issuer")]
    Issuer,
    /// It has another audience.
    #[error("the access token is meant for another audience")]
    Audience,
    /// It is not valid yet, or was issued in the future.
    #[error("the access token is not valid yet")]
    NotYetValid,
    /// It has expired.
    #[error("the access token has expired")]
    Expired,
}

/// Returns the claims of a token that is valid at `now`.
///
/// `key` looks up a key by its `kid`. It is called at most once and is the only source of keys.
///
/// # Errors
/// [`TokenError`]: the first reason to reject it.
pub fn verify(
    token: &str,
    key: impl FnOnce(&str) -> Option<Arc<VerifyingKey>>,
    expected: &Expected,
    now: Timestamp,
) -> Result<Claims, TokenError> {
    let signed = verify_signature(token, key)?;
    signed.check_claims(expected, now)?;
    Ok(Arc::unwrap_or_clone(signed.claims))
}

/// A token with a valid signature. The validity of its claims depends on the time:
/// [`Signed::check_claims`].
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its claims.
    pub claims: Arc<Claims>,
    /// The key that signed it.
    pub key: Arc<VerifyingKey>,
    /// `nbf`, which Doorward never writes but checks.
    not_before: Option<i64>,
}

impl AsRef<Self> for Signed {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The expensive part of [`verify`], which does not depend on the time: structure, type, key,
/// signature, and the types of the claims.
///
/// # Errors
/// [`TokenError`]: the first reason to reject it.
pub fn verify_signature(
    token: &str,
    key: impl FnOnce(&str) -> Option<Arc<VerifyingKey>>,
) -> Result<Signed, TokenError> {
    if token.len() > MAX_LENGTH {
        return Err(TokenError::Malformed);
    }
    // A fourth part would leave a dot in one of these, and a dot is not base64url.
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;

    let header = read_header(header)?;
    let key = key(&header.kid).ok_or(TokenError::UnknownKey(header.kid))?;
    if header.alg != key.alg().as_str() {
        return Err(TokenError::WrongAlgorithm);
    }
    if !key.accepts(message.as_bytes(), &decode(signature)?) {
        return Err(TokenError::Signature);
    }
    let (claims, not_before) = read_claims(payload)?;
    Ok(Signed { claims: Arc::new(claims), key, not_before })
}

/// The header members that are read.
#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "not_null")]
    typ: Option<String>,
    alg: String,
    kid: String,
}

fn read_header(part: &str) -> Result<Header, TokenError> {
    let bytes = decode(part)?;
    let object = Object::read(&bytes).ok_or(TokenError::Malformed)?;
    if REJECTED_HEADER_MEMBERS.iter().any(|name| object.has(name)) {
        return Err(TokenError::Malformed);
    }
    let header: Header = object.parse().ok_or(TokenError::Malformed)?;
    if header.typ.as_deref().is_some_and(is_access_token) {
        Ok(header)
    } else {
        Err(TokenError::WrongType)
    }
}

/// RFC 9068 4 with RFC 7515 4.1.9: a media type, case-insensitive, with an optional `application/`.
fn is_access_token(typ: &str) -> bool {
    ["at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

/// The claims, and `nbf`, which Doorward never writes but checks.
fn read_claims(part: &str) -> Result<(Claims, Option<i64>), TokenError> {
    #[derive(Deserialize)]
    struct NotBefore {
        #[serde(default, deserialize_with = "not_null")]
        nbf: Option<i64>,
    }

    let bytes = decode(part)?;
    let object = Object::read(&bytes).ok_or(TokenError::Malformed)?;
    // RFC 9449 7.2: a token that is bound to a key must not be accepted as a plain bearer token.
    if object.has("cnf") {
        return Err(TokenError::Bound);
    }
    let NotBefore { nbf } = object.parse().ok_or(TokenError::Claims)?;
    Ok((object.parse().ok_or(TokenError::Claims)?, nbf))
}

impl Signed {
    /// Checks the issuer, the audience and the validity at `now`.
    ///
    /// # Errors
    /// [`TokenError`]: the first reason to reject it. Expiry is checked last: "expired" invites the
    /// client to refresh, which does not help another issuer's token.
    pub fn check_claims(&self, expected: &Expected, now: Timestamp) -> Result<(), TokenError> {
        let claims = &self.claims;
        if claims.iss != expected.issuer {
            return Err(TokenError::Issuer);
        }
        if !claims.aud.contains(&expected.audience) {
            return Err(TokenError::Audience);
        }
        let not_before = Timestamp::from_unix_seconds(self.not_before.unwrap_or(i64::MIN));
        let issued_at = Timestamp::from_unix_seconds(claims.iat);
        let expires_at = Timestamp::from_unix_seconds(claims.exp);
        if not_before > now.plus(expected.leeway)
            || issued_at > now.plus(expected.leeway.max(MIN_IAT_TOLERANCE))
        {
            return Err(TokenError::NotYetValid);
        }
        // RFC 7519 4.1.4: from the second of `exp` on it is not valid.
        if now >= expires_at.plus(expected.leeway) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// Rejects padding, white space and nonzero trailing bits: there is one canonical form.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Only the lower-case, hyphenated form. `Uuid` itself accepts five forms, and an id with two forms
/// is not unique for services that compare text.
fn canonical_uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = String::deserialize(deserializer)?;
    Uuid::parse_str(&text)
        .ok()
        .filter(|id| *id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text)
        .ok_or_else(|| de::Error::custom("not a UUID in its canonical form"))
}

fn canonical_sid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    canonical_uuid(deserializer).map(Some)
}

/// For an optional member: serde would treat `null` as absent.
fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
