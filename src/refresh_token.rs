//! The format of refresh tokens: `dwr_` and base64url of version ‖ session id ‖ generation ‖ family
//! secret ‖ tag.
//!
//! The tag, under a key derived from the master secret, exposes a forgery before the database is
//! asked. The family secret, of which the database holds only the hash, cannot be derived from a
//! stolen master secret. Only the family secret is random, so the successor of a token is computed
//! and not stored: every repeated request gets the same one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::{DerivedKey, equal, random_bytes, sha256};

/// The prefix of every token, so that people and secret scanners recognise it.
const PREFIX: &str = "dwr_";

const VERSION: u8 = 1;
const ID: usize = 16;
const GENERATION: usize = 4;
const FAMILY: usize = 16;
/// 128 bits: 2^128 tags cannot be tried against an online service.
const TAG: usize = 16;
const BODY: usize = 1 + ID + GENERATION + FAMILY;

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
pub struct FamilySecret([u8; FAMILY]);

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
        let mut bytes = Vec::with_capacity(BODY + TAG);
        bytes.push(VERSION);
        bytes.extend_from_slice(token.session.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        bytes.extend_from_slice(&token.family.0);
        let mac = self.current.mac(&bytes);
        bytes.extend_from_slice(&mac[..TAG]);
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
        let mut bytes = [0; BODY + TAG];
        if encoded.len() != (BODY + TAG) * 4 / 3 + 1 {
            return Err(Malformed);
        }
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).map_err(|_| Malformed)?;
        let (body, tag) = bytes.split_at(BODY);
        let genuine = |key: &DerivedKey| equal(&key.mac(body)[..TAG], tag);
        let known = genuine(&self.current) || self.previous.as_ref().is_some_and(genuine);
        if length != BODY + TAG || body[0] != VERSION || !known {
            return Err(Malformed);
        }
        let token = RefreshToken {
            session: Uuid::from_bytes(part(body, 1)),
            generation: u32::from_be_bytes(part(body, 1 + ID)),
            family: FamilySecret(part(body, 1 + ID + GENERATION)),
        };
        bytes.zeroize();
        Ok(token)
    }
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[from + i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::{MasterSecret, Purpose};

    /// The alphabet of base64url, by value.
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// Generated by an independent program from the specification of the format.
    const SAMPLE: &str =
        "dwr_AQGPPC56W3zejwEjRWeJq80BAgMEoKGio6SlpqeoqaqrrK2ur1d-Bc7VDc1CA2mOdEqDZjU";

    fn sample_keys() -> TagKeys {
        let master = MasterSecret::parse("KXK7BE2W3yhxugNMld4ncLkCS5TdJm-4AUqT3CVutwA").unwrap();
        TagKeys::new(master.derive(Purpose::RefreshTokenTag), None)
    }

    fn sample_token() -> RefreshToken {
        let session = Uuid::from_u128(0x018f_3c2e_7a5b_7cde_8f01_2345_6789_abcd);
        let family = FamilySecret(std::array::from_fn(|i| 0xa0 + u8::try_from(i).unwrap()));
        RefreshToken::first(session, family).at_generation(0x0102_0304)
    }

    fn new_key() -> DerivedKey {
        MasterSecret::generate().derive(Purpose::RefreshTokenTag)
    }

    fn token() -> RefreshToken {
        RefreshToken::first(Uuid::from_u128(7), FamilySecret::generate())
    }

    /// A text with these bytes and the correct tag under the sample's key.
    fn tagged(body: &[u8]) -> String {
        let mac = sample_keys().current.mac(body);
        PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode([body, &mac[..TAG]].concat())
    }

    fn is_same(a: &RefreshToken, b: &RefreshToken) -> bool {
        (a.session, a.generation, a.family.0) == (b.session, b.generation, b.family.0)
    }

    #[test]
    fn the_format_matches_the_design() {
        assert_eq!(sample_keys().encode(&sample_token()), SAMPLE);
        assert!(is_same(&sample_keys().decode(SAMPLE).unwrap(), &sample_token()));
    }

    #[test]
    fn a_token_under_the_previous_key_is_accepted_and_a_new_one_has_the_present_key() {
        let (old, new) = (new_key(), new_key());
        let before = TagKeys::new(old.clone(), None);
        let during = TagKeys::new(new.clone(), Some(old));
        let after = TagKeys::new(new, None);
        let issued_before = before.encode(&token());
        assert!(during.decode(&issued_before).is_ok());
        assert_eq!(after.decode(&issued_before).unwrap_err(), Malformed);
        let issued_during = during.encode(&token());
        assert!(after.decode(&issued_during).is_ok());
        assert_eq!(before.decode(&issued_during).unwrap_err(), Malformed);
    }

    #[test]
    fn a_key_for_another_purpose_makes_no_token() {
        let master = MasterSecret::generate();
        let tags = TagKeys::new(master.derive(Purpose::RefreshTokenTag), None);
        let other = TagKeys::new(master.derive(Purpose::LoginThrottle), None);
        assert!(tags.decode(&other.encode(&token())).is_err());
    }

    #[test]
    fn every_changed_character_is_rejected() {
        let keys = sample_keys();
        for place in 0..SAMPLE.len() {
            for &character in ALPHABET {
                let mut text = SAMPLE.to_owned().into_bytes();
                text[place] = character;
                let text = String::from_utf8(text).unwrap();
                assert_eq!(keys.decode(&text).is_ok(), text == SAMPLE, "{text}");
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let keys = sample_keys();
        for length in 0..SAMPLE.len() {
            assert!(keys.decode(&SAMPLE[..length]).is_err());
            assert!(keys.decode(&SAMPLE[length + 1..]).is_err());
        }
        for more in ["A", "=", "==", " ", "\n", "\0", SAMPLE] {
            assert!(keys.decode(&format!("{SAMPLE}{more}")).is_err());
            assert!(keys.decode(&format!("{more}{SAMPLE}")).is_err());
        }
        assert!(keys.decode(&"dwr_".repeat(1_000_000)).is_err());
    }

    #[test]
    fn another_version_is_refused_although_its_tag_is_right() {
        let mut body: Vec<u8> = URL_SAFE_NO_PAD.decode(&SAMPLE[4..]).unwrap();
        body.truncate(BODY);
        assert_eq!(tagged(&body), SAMPLE);
        for version in [0, 2, 0xff] {
            body[0] = version;
            assert!(sample_keys().decode(&tagged(&body)).is_err());
        }
    }

    #[test]
    fn a_body_of_another_length_is_refused_although_its_tag_is_right() {
        for length in (0..=2 * BODY).filter(|length| *length != BODY) {
            assert!(sample_keys().decode(&tagged(&vec![VERSION; length])).is_err(), "{length}");
        }
    }

    #[test]
    fn the_successor_is_deterministic() {
        let keys = sample_keys();
        let read_back = keys.decode(SAMPLE).unwrap();
        let successor = |token: &RefreshToken| keys.encode(&token.at_generation(9));
        assert_eq!(successor(&read_back), successor(&sample_token()));
        assert_ne!(successor(&read_back), SAMPLE);
        assert_eq!(read_back.at_generation(9).family_digest(), read_back.family_digest());
    }

    #[test]
    fn a_session_has_a_family_secret_of_its_own() {
        assert_ne!(token().family_digest(), token().family_digest());
        assert_eq!(sample_token().family_digest(), sha256(&sample_token().family.0));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", sample_token());
        let id = "018f3c2e-7a5b-7cde-8f01-23456789abcd";
        assert_eq!(shown, format!("RefreshToken({id}, generation 16909060)"));
    }

    proptest! {
        #[test]
        fn a_token_survives_its_own_text(
            session: u128,
            generation: u32,
            family: [u8; FAMILY],
        ) {
            let keys = sample_keys();
            let token = RefreshToken::first(Uuid::from_u128(session), FamilySecret(family))
                .at_generation(generation);
            prop_assert!(is_same(&keys.decode(&keys.encode(&token)).unwrap(), &token));
        }

        #[test]
        fn a_changed_character_is_refused(place in 0..SAMPLE.len(), character: char) {
            let mut text = SAMPLE.to_owned();
            text.replace_range(place..=place, character.encode_utf8(&mut [0; 4]));
            prop_assert_eq!(sample_keys().decode(&text).is_ok(), text == SAMPLE);
        }

        #[test]
        fn no_text_makes_it_panic_or_is_accepted(text in any::<String>()) {
            prop_assert!(sample_keys().decode(&text).is_err());
            let prefixed = PREFIX.to_owned() + &text;
            prop_assert!(sample_keys().decode(&prefixed).is_err());
        }

        #[test]
        fn another_key_refuses(session: u128, generation: u32) {
            let token = RefreshToken::first(Uuid::from_u128(session), FamilySecret::generate())
                .at_generation(generation);
            let text = TagKeys::new(new_key(), None).encode(&token);
            prop_assert!(sample_keys().decode(&text).is_err());
        }
    }
}
