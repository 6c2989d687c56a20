//! The tokens of an unfinished login, which carry its state: the factor token (`dwf_…`) after a
//! right password while the second factor is missing, the enrol token (`dwe_…`) while one must be
//! set up first.
//!
//! Neither is a session. Each is authenticated by an HMAC under a derived key of its own and not
//! encrypted: it contains ids and texts of the client itself. The user's credentials must be
//! unchanged when it is used.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::keys::{FactorKeys, LoginTokenKind, TAG};
use crate::clock::Timestamp;

/// The prefix of a factor token.
const FACTOR_PREFIX: &str = "dwf_";

/// The prefix of an enrol token.
pub const ENROL_PREFIX: &str = "dwe_";

/// How long a factor token is valid.
pub const FACTOR_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// How long an enrol token is valid: as long as the secret that it makes.
pub const ENROL_LIFETIME: Duration = Duration::from_secs(10 * 60);

const VERSION: u8 = 1;

/// The longest text that is decoded; tokens have less than 1,000 characters.
const MAX_CHARS: usize = 2048;

/// A login with a right password that lacks the second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorToken {
    /// The user.
    pub user: Uuid,
    /// The version of the user's credentials.
    pub version: i64,
    /// When the password was verified.
    pub issued_at: Timestamp,
    /// The public client that the session will belong to.
    pub client_id: String,
    /// The label of the session.
    pub label: Option<String>,
    /// Whether the client wants its tokens as cookies.
    pub with_cookies: bool,
    /// Whether the account knew neither the device nor the network.
    pub is_unknown_source: bool,
    /// The shares of login throttling that the password has taken.
    pub shares: Vec<u8>,
}

/// A login with a right password that needs a second factor to be set up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrolToken {
    /// The user.
    pub user: Uuid,
    /// The version of the user's credentials.
    pub version: i64,
    /// When the password was verified.
    pub issued_at: Timestamp,
}

/// A text that is not a valid factor or enrol token of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is invalid or has expired")]
pub struct InvalidLoginToken;

impl FactorToken {
    /// Its text.
    #[must_use]
    pub fn encode(&self, keys: &FactorKeys) -> String {
        let flags = u8::from(self.with_cookies)
            | u8::from(self.is_unknown_source) << 1
            | u8::from(self.label.is_some()) << 2;
        let mut body = head(self.user, self.version, self.issued_at);
        body.push(flags);
        put(&mut body, self.client_id.as_bytes());
        put(&mut body, self.label.as_deref().unwrap_or_default().as_bytes());
        put(&mut body, &self.shares);
        encode(keys, FACTOR_PREFIX, LoginTokenKind::Factor, body)
    }

    /// Reads a token that is valid at `now`.
    ///
    /// # Errors
    /// [`InvalidLoginToken`].
    pub fn decode(
        text: &str,
        keys: &FactorKeys,
        now: Timestamp,
    ) -> Result<Self, InvalidLoginToken> {
        let body = decode(keys, FACTOR_PREFIX, LoginTokenKind::Factor, text)?;
        let mut rest = body.as_slice();
        let (user, version, issued_at) = take_head(&mut rest, now, FACTOR_LIFETIME)?;
        let [flags] = take(&mut rest)?;
        let client_id = take_text(&mut rest)?;
        let label = take_text(&mut rest)?;
        let shares = take_bytes(&mut rest)?.to_vec();
        Ok(Self {
            user,
            version,
            issued_at,
            client_id,
            label: (flags & 4 != 0).then_some(label),
            with_cookies: flags & 1 != 0,
            is_unknown_source: flags & 2 != 0,
            shares,
        })
    }
}

impl EnrolToken {
    /// Its text.
    #[must_use]
    pub fn encode(&self, keys: &FactorKeys) -> String {
        let body = head(self.user, self.version, self.issued_at);
        encode(keys, ENROL_PREFIX, LoginTokenKind::Enrol, body)
    }

    /// Reads a token that is valid at `now`.
    ///
    /// # Errors
    /// [`InvalidLoginToken`].
    pub fn decode(
        text: &str,
        keys: &FactorKeys,
        now: Timestamp,
    ) -> Result<Self, InvalidLoginToken> {
        let body = decode(keys, ENROL_PREFIX, LoginTokenKind::Enrol, text)?;
        let (user, version, issued_at) = take_head(&mut body.as_slice(), now, ENROL_LIFETIME)?;
        Ok(Self { user, version, issued_at })
    }
}

fn encode(keys: &FactorKeys, prefix: &str, kind: LoginTokenKind, mut body: Vec<u8>) -> String {
    body.extend_from_slice(&keys.tag(kind, &body));
    prefix.to_owned() + &URL_SAFE_NO_PAD.encode(body)
}

/// The body of a genuine token.
fn decode(
    keys: &FactorKeys,
    prefix: &str,
    kind: LoginTokenKind,
    text: &str,
) -> Result<Vec<u8>, InvalidLoginToken> {
    let encoded = text.strip_prefix(prefix).filter(|encoded| encoded.len() <= MAX_CHARS);
    let bytes =
        URL_SAFE_NO_PAD.decode(encoded.ok_or(InvalidLoginToken)?).map_err(|_| InvalidLoginToken)?;
    let length = bytes.len().checked_sub(TAG).ok_or(InvalidLoginToken)?;
    let (body, tag) = bytes.split_at(length);
    if keys.is_tag(kind, body, tag) { Ok(body.to_vec()) } else { Err(InvalidLoginToken) }
}

fn head(user: Uuid, version: i64, issued_at: Timestamp) -> Vec<u8> {
    let (version, issued_at) = (version.to_be_bytes(), issued_at.as_micros().to_be_bytes());
    [&[VERSION], user.as_bytes().as_slice(), &version, &issued_at].concat()
}

fn take_head(
    rest: &mut &[u8],
    now: Timestamp,
    lifetime: Duration,
) -> Result<(Uuid, i64, Timestamp), InvalidLoginToken> {
    let [layout_version] = take(rest)?;
    let user = Uuid::from_bytes(take(rest)?);
    let version = i64::from_be_bytes(take(rest)?);
    let issued_at = Timestamp::from_micros(i64::from_be_bytes(take(rest)?));
    let is_valid = layout_version == VERSION && now.since(issued_at) < lifetime;
    if is_valid { Ok((user, version, issued_at)) } else { Err(InvalidLoginToken) }
}

/// Adds bytes after their length.
fn put(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&bytes[..usize::from(length)]);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], InvalidLoginToken> {
    let (taken, further) = rest.split_first_chunk().ok_or(InvalidLoginToken)?;
    *rest = further;
    Ok(*taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], InvalidLoginToken> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (taken, further) = rest.split_at_checked(length).ok_or(InvalidLoginToken)?;
    *rest = further;
    Ok(taken)
}

fn take_text(rest: &mut &[u8]) -> Result<String, InvalidLoginToken> {
    String::from_utf8(take_bytes(rest)?.to_vec()).map_err(|_| InvalidLoginToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::MasterSecret;

    fn token(label: Option<&str>) -> FactorToken {
        FactorToken {
            user: Uuid::from_u128(7),
            version: 3,
            issued_at: Timestamp::from_unix_seconds(1000),
            client_id: String::from("doorward"),
            label: label.map(str::to_owned),
            with_cookies: true,
            is_unknown_source: false,
            shares: vec![0; 51],
        }
    }

    #[test]
    fn a_token_is_read_until_it_expires() {
        let keys = FactorKeys::new(&MasterSecret::generate(), None);
        for label in [None, Some(""), Some("Ada's phone")] {
            let text = token(label).encode(&keys);
            let at = |seconds: i64| {
                FactorToken::decode(&text, &keys, Timestamp::from_unix_seconds(1000 + seconds))
            };
            assert_eq!((at(0), at(299)), (Ok(token(label)), Ok(token(label))));
            assert_eq!(at(300), Err(InvalidLoginToken));
        }
    }

    #[test]
    fn a_token_is_one_of_its_own_kind_only() {
        let keys = FactorKeys::new(&MasterSecret::generate(), None);
        let now = Timestamp::from_unix_seconds(1000);
        let FactorToken { user, version, issued_at, .. } = token(None);
        let enrol = EnrolToken { user, version, issued_at };
        let text = enrol.encode(&keys);
        assert_eq!(EnrolToken::decode(&text, &keys, now), Ok(enrol));
        let renamed = text.replacen(ENROL_PREFIX, FACTOR_PREFIX, 1);
        assert_eq!(FactorToken::decode(&renamed, &keys, now), Err(InvalidLoginToken));
        let factor = token(None).encode(&keys).replacen(FACTOR_PREFIX, ENROL_PREFIX, 1);
        assert_eq!(EnrolToken::decode(&factor, &keys, now), Err(InvalidLoginToken));
    }

    #[test]
    fn a_changed_token_is_rejected() {
        let keys = FactorKeys::new(&MasterSecret::generate(), None);
        let now = Timestamp::from_unix_seconds(1000);
        let text = token(Some("x")).encode(&keys);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                FactorToken::decode(&changed, &keys, now),
                Err(InvalidLoginToken),
                "{changed}"
            );
        }
        for odd in ["", "dwf_", "dwf_AAAA", &text[..text.len() - 1], &"dwf_A".repeat(2000)] {
            assert_eq!(FactorToken::decode(odd, &keys, now), Err(InvalidLoginToken));
        }
    }

    #[test]
    fn a_token_of_the_previous_master_secret_is_read() {
        let (old, new) = (MasterSecret::generate(), MasterSecret::generate());
        let now = Timestamp::from_unix_seconds(1000);
        let text = token(None).encode(&FactorKeys::new(&old, None));
        let keys = FactorKeys::new(&new, Some(&old));
        assert_eq!(FactorToken::decode(&text, &keys, now), Ok(token(None)));
        let keys = FactorKeys::new(&new, None);
        assert_eq!(FactorToken::decode(&text, &keys, now), Err(InvalidLoginToken));
    }
}
