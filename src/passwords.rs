//! Passwords: parsing, policy and hashing.
//!
//! Everything about Argon2 and password strength is internal to this module. Its interface is a
//! [`Password`], which has been parsed and normalised, a [`PasswordHash`], which may be stored, and
//! the [`Hasher`] between the two.

mod argon2;
mod calibrate;
mod dummy;
mod hasher;
mod policy;

pub use argon2::{HashCost, Verdict};
pub use calibrate::{Calibrated, calibrate, time_of_a_hash};
pub use dummy::{Candidate, StoredCosts};
pub use hasher::{Hasher, HasherSettings, Overloaded};
pub use policy::{PasswordPolicy, WeakPassword};

use unicode_normalization::UnicodeNormalization as _;

use crate::secret::Secret;

/// A password in Unicode's composed form (NFC).
///
/// Keyboards differ in the encoding of accented letters; composed, the same password has the same
/// bytes everywhere (RFC 8265 4.2.2 requires NFC). Nothing else is changed: no trimming, no
/// folding, no truncation.
#[derive(Clone, Debug)]
pub struct Password(Secret<String>);

impl Password {
    /// The maximum length in bytes of UTF-8, as typed and as composed.
    pub const MAX_BYTES: usize = 1024;

    /// Parses a password as it was sent.
    ///
    /// # Errors
    /// [`PasswordTooLong`] when it has more than [`Password::MAX_BYTES`]. A login must then still
    /// cost one hash: see [`Hasher::verify`].
    pub fn parse(raw: &str) -> Result<Self, PasswordTooLong> {
        if raw.len() > Self::MAX_BYTES {
            return Err(PasswordTooLong);
        }
        // NFC makes a text at most three times as long (UAX 15). With enough capacity from the
        // start, no reallocation leaves a part of the password in memory.
        let mut composed = String::with_capacity(3 * raw.len());
        composed.extend(raw.nfc());
        let password = Self(Secret::new(composed));
        if password.as_str().len() > Self::MAX_BYTES {
            return Err(PasswordTooLong);
        }
        Ok(password)
    }

    fn as_str(&self) -> &str {
        self.0.expose()
    }
}

/// A text that exceeds the maximum length of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Use a password of at most {} bytes.", Password::MAX_BYTES)]
pub struct PasswordTooLong;

/// Why a new password is not acceptable.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum UnacceptablePassword {
    /// It exceeds the maximum length.
    #[error(transparent)]
    TooLong(#[from] PasswordTooLong),
    /// It could be guessed.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
}

/// A hash of another system that cannot be verified here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Give an Argon2 hash as a PHC string ($argon2id$v=19$m=…,t=…,p=…$salt$hash), at most 8 times \
     as costly as Doorward's default, with at most 64 MiB of memory."
)]
pub struct InvalidHash;

/// The hash of a password, as a PHC string: algorithm, parameters, salt and tag in one text.
#[derive(Clone, Debug)]
pub struct PasswordHash(Secret<String>);

impl PasswordHash {
    /// Wraps a stored hash. It is parsed only when needed; the empty text belongs to an account
    /// without a password, and matches none.
    #[must_use]
    pub const fn from_stored(phc: String) -> Self {
        Self(Secret::new(phc))
    }

    /// Reads the hash of another system.
    ///
    /// # Errors
    /// [`InvalidHash`]: it cannot be verified here.
    pub fn parse(phc: &str) -> Result<Self, InvalidHash> {
        if argon2::is_verifiable(phc) {
            Ok(Self(Secret::new(phc.to_owned())))
        } else {
            Err(InvalidHash)
        }
    }

    /// The text to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn composed_and_decomposed_forms_are_one_password() {
        let composed = Password::parse("caf\u{e9} \u{1e69}").unwrap();
        let decomposed = Password::parse("cafe\u{301} s\u{307}\u{323}").unwrap();
        assert_eq!(composed.as_str(), decomposed.as_str());
    }

    #[test]
    fn nothing_else_about_a_password_is_changed() {
        for kept in ["", "  spaces  ", "ＦＵＬＬ width ﬁ", "nul \0 and tab \t", "Grüße 😀"]
        {
            assert_eq!(Password::parse(kept).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn the_cap_counts_bytes_before_and_after_composition() {
        assert!(Password::parse(&"a".repeat(1024)).is_ok());
        assert_eq!(Password::parse(&"a".repeat(1025)).unwrap_err(), PasswordTooLong);
        // Two bytes that NFC turns into four, and three that it turns into two.
        assert!(Password::parse(&"\u{344}".repeat(256)).is_ok());
        assert_eq!(Password::parse(&"\u{344}".repeat(257)).unwrap_err(), PasswordTooLong);
        assert_eq!(Password::parse(&"e\u{301}".repeat(342)).unwrap_err(), PasswordTooLong);
    }

    #[test]
    fn debug_shows_neither_password_nor_hash() {
        let shown = format!(
            "{:?} {:?}",
            Password::parse("hunter2").unwrap(),
            PasswordHash::from_stored("$argon2id$".to_owned())
        );
        assert!(!shown.contains("hunter2") && !shown.contains("argon2id"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_password_or_too_long_and_composing_twice_changes_nothing(
            text in prop_oneof![any::<String>(), "[a-z\u{300}-\u{36f}\u{ac00}-\u{acff}]{0,400}"],
        ) {
            let Ok(password) = Password::parse(&text) else {
                prop_assert!(text.len().max(text.nfc().map(char::len_utf8).sum()) > 1024);
                return Ok(());
            };
            prop_assert!(password.as_str().len() <= Password::MAX_BYTES);
            let again = Password::parse(password.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), password.as_str());
        }
    }
}
