//! Secrets: randomness of the operating system, constant-time comparison, key derivation, and
//! values that cannot be printed by accident.
//!
//! One key per [`Purpose`] is derived from the master secret, so that a leaked key compromises one
//! purpose only.

pub mod crockford;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of the master secret and of every derived key, in bytes.
pub const KEY_LENGTH: usize = 32;

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// When the operating system provides no randomness; then nothing here can be secure.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness nothing here is secure")]
    rand::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}

/// Whether two byte strings are equal, in a time that depends only on their lengths.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// SHA-256.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// A secret value: zeroized on drop, redacted in `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the code that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// The purpose of a derived key. The labels are part of the derivation: changing one makes the data
/// that it protected unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The tag on refresh tokens.
    RefreshTokenTag,
    /// Encryption of the private signing keys in the database.
    SigningKeySeal,
    /// Hashing of e-mail addresses in the table of failed logins.
    LoginThrottle,
    /// Choosing the dummy hashes of e-mail addresses that have no account.
    DummyHashes,
    /// The token of a mail request, for the client that made it.
    MailRequest,
    /// The token in a mailed link.
    MailLink,
    /// The code in a message.
    MailCode,
    /// Encryption of TOTP secrets in the database.
    TotpSeal,
    /// The token of a login that lacks the second factor.
    FactorToken,
    /// The token of a login that needs a second factor to be set up.
    EnrolToken,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::RefreshTokenTag => b"doorward refresh token tag v1",
            Self::SigningKeySeal => b"doorward signing key seal v1",
            Self::LoginThrottle => b"doorward login budget v1",
            Self::DummyHashes => b"doorward dummy hashes v1",
            Self::MailRequest => b"doorward mail request v1",
            Self::MailLink => b"doorward mail link v1",
            Self::MailCode => b"doorward mail code v1",
            Self::TotpSeal => b"doorward totp seal v1",
            Self::FactorToken => b"doorward factor ticket v1",
            Self::EnrolToken => b"doorward enrol ticket v1",
        }
    }
}

/// The master secret: 32 random bytes, written as 43 characters of base64url.
#[derive(Clone, Debug)]
pub struct MasterSecret(Secret<[u8; KEY_LENGTH]>);

/// Why a text is not a valid master secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not base64 of exactly 32 bytes.
    #[error(
        "it must be 32 random bytes in base64 (43 or 44 characters) or hexadecimal (64 characters)"
    )]
    Malformed,
    /// The right length, but evidently not random.
    #[error("it is too regular to be random")]
    LowEntropy,
}

impl MasterSecret {
    /// Generates a new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::new(random_bytes()))
    }

    /// Parses one from base64 (either alphabet, padded or not) or hexadecimal; surrounding white
    /// space is ignored.
    ///
    /// # Errors
    /// [`SecretError`] when the text is malformed or evidently not random.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let bytes = Zeroizing::new(decode(text).ok_or(SecretError::Malformed)?);
        let key: [u8; KEY_LENGTH] =
            bytes.as_slice().try_into().map_err(|_| SecretError::Malformed)?;
        if is_regular(&key) || is_regular(text.as_bytes()) {
            return Err(SecretError::LowEntropy);
        }
        Ok(Self(Secret::new(key)))
    }

    /// The text that [`MasterSecret::parse`] accepts.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.expose()))
    }

    /// The key for one purpose (HKDF-SHA-256, RFC 5869, without salt).
    ///
    /// # Panics
    /// When HKDF does not return 32 bytes, which cannot happen.
    #[must_use]
    pub fn derive(&self, purpose: Purpose) -> DerivedKey {
        let mut key = [0; KEY_LENGTH];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(self.0.expose());
        #[expect(clippy::expect_used, reason = "32 bytes are within what HKDF-SHA-256 can give")]
        prk.expand(&[purpose.label()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("HKDF gives 32 bytes");
        DerivedKey(Secret::new(key))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() == 2 * KEY_LENGTH && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return (0..KEY_LENGTH)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
            .collect();
    }
    let unpadded = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(unpadded).ok()
}

/// 32 random bytes, and their base64, have 14 different values or more, except with a probability
/// below 2^-40; 64 random hexadecimal digits have 8 or more, except with one below 2^-60. Typed,
/// padded and documented "secrets" have fewer, or are text.
fn is_regular(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    for &byte in bytes {
        seen[usize::from(byte)] = true;
    }
    let distinct = seen.iter().filter(|&&s| s).count();
    let printable = bytes.len() == KEY_LENGTH && bytes.iter().all(u8::is_ascii_graphic);
    let stepping =
        bytes.windows(2).filter(|w| w[1] == w[0].wrapping_add(1)).count() > bytes.len() / 2;
    let least = if bytes.iter().all(u8::is_ascii_hexdigit) { 8 } else { 14 };
    distinct < least || printable || stepping
}

/// A key for one [`Purpose`].
#[derive(Clone, Debug)]
pub struct DerivedKey(Secret<[u8; KEY_LENGTH]>);

/// A ciphertext that this key does not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret does not decrypt it")]
pub struct DecryptError;

impl DerivedKey {
    /// HMAC-SHA-256 over `data`.
    #[must_use]
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        out.copy_from_slice(hmac::sign(&key, data).as_ref());
        out
    }

    /// Encrypts `plain` with AES-256-GCM under a random nonce, bound to `context`: nonce ‖
    /// ciphertext ‖ tag.
    ///
    /// # Panics
    /// When AES-GCM rejects a short message, which cannot happen.
    #[must_use]
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        #[expect(clippy::expect_used, reason = "AES-GCM seals up to 64 GiB")]
        self.aead()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed,
            )
            .expect("a short message can be encrypted");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts the output of [`DerivedKey::seal`].
    ///
    /// # Errors
    /// [`DecryptError`] when it was encrypted with another key or context, or changed.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(DecryptError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DecryptError)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .aead()
            .open_in_place(nonce, Aad::from(context), &mut buffer)
            .map_err(|_| DecryptError)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    #[expect(clippy::expect_used, reason = "the key has AES-256's length by its type")]
    fn aead(&self) -> LessSafeKey {
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, self.0.expose()).expect("32 bytes make an AES-256 key"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_secret_round_trips() {
        let secret = MasterSecret::generate();
        let again = MasterSecret::parse(&secret.to_text()).unwrap();
        assert_eq!(secret.0.expose(), again.0.expose());
    }

    #[test]
    fn typed_and_regular_secrets_are_refused() {
        for weak in [
            "",
            "changeme",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            &URL_SAFE_NO_PAD.encode(b"this-is-my-very-secret-password!"),
        ] {
            assert!(MasterSecret::parse(weak).is_err(), "{weak}");
        }
        for _ in 0..1000 {
            assert!(MasterSecret::parse(&MasterSecret::generate().to_text()).is_ok());
        }
    }

    #[test]
    fn a_seal_opens_only_under_its_own_key_and_context() {
        let key = MasterSecret::generate().derive(Purpose::SigningKeySeal);
        let sealed = key.seal(b"private", b"kid 1");
        assert_eq!(key.open(&sealed, b"kid 1").unwrap().as_slice(), b"private");
        assert!(key.open(&sealed, b"kid 2").is_err());
        let other = MasterSecret::generate().derive(Purpose::SigningKeySeal);
        assert!(other.open(&sealed, b"kid 1").is_err());
        assert!(key.open(&sealed[..8], b"kid 1").is_err());
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let secret = MasterSecret::generate();
        let tag = secret.derive(Purpose::RefreshTokenTag).mac(b"x");
        assert_ne!(tag, secret.derive(Purpose::LoginThrottle).mac(b"x"));
    }

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?}", Secret::new(String::from("hunter2")));
        assert_eq!(shown, "[secret]");
    }
}
