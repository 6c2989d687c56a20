//! E-mail addresses.

use std::fmt;

use serde::{Serialize, Serializer};

/// The longest address that mail can carry, in bytes (RFC 5321 4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;

/// The longest part before the `@`, in bytes (RFC 5321 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// An address as its owner wrote it, trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

/// A malformed e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// Not `somebody@somewhere`.
    #[error("give an e-mail address such as somebody@example.com")]
    Shape,
    /// Longer than mail allows.
    #[error("give an e-mail address of at most 254 bytes, with at most 64 before the @")]
    TooLong,
}

impl Email {
    /// Reads an address.
    ///
    /// # Errors
    /// [`InvalidEmail`] says what a valid address looks like.
    pub fn parse(raw: &str) -> Result<Self, InvalidEmail> {
        let text = raw.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(InvalidEmail::Shape)?;
        if text.len() > MAX_BYTES || local.len() > MAX_LOCAL_BYTES {
            return Err(InvalidEmail::TooLong);
        }
        let labels_are_whole = domain
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        let bad = |c: char| c.is_control() || c.is_whitespace() || is_invisible(c);
        let specials = |c: char| "()<>[]:;,\\\"@".contains(c);
        if local.is_empty()
            || !labels_are_whole
            || text.contains(bad)
            || local.contains(specials)
            || domain.contains(specials)
        {
            return Err(InvalidEmail::Shape);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that is compared: two addresses with the same key are the same address.
    #[must_use]
    pub fn key(&self) -> String {
        Self::key_of(&self.0)
    }

    /// The key of any text, a valid address or not: trimmed, ASCII letters in lower case, and
    /// otherwise unchanged, so that look-alike letters make different accounts, never the same.
    #[must_use]
    pub fn key_of(raw: &str) -> String {
        raw.trim().to_ascii_lowercase()
    }
}

/// Characters that are invisible or change the writing direction: they would make two different
/// addresses look the same.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_trimmed_and_compared_without_ascii_case() {
        let email = Email::parse("  Ada@Example.COM ").unwrap();
        assert_eq!(email.as_str(), "Ada@Example.COM");
        assert_eq!(email.key(), "ada@example.com");
    }

    #[test]
    fn look_alike_addresses_have_different_keys() {
        for (a, b) in [
            ("ada@example.com", "\u{430}da@example.com"),
            ("i@x.y", "\u{131}@x.y"),
            ("K@x.y", "\u{212a}@x.y"),
        ] {
            assert_ne!(Email::key_of(a), Email::key_of(b));
        }
    }

    #[test]
    fn malformed_addresses_are_rejected() {
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c.d",
            "a@b..c",
            "a@b.",
            "a@-b.c",
            "a@b@c.d",
            "a\r\nb@c.d",
            "a\0@c.d",
            "\"a\"@c.d",
            "<a@c.d>",
            "a\u{202e}@c.d",
            "a@c\u{200b}.d",
        ] {
            assert_eq!(Email::parse(bad), Err(InvalidEmail::Shape), "{bad:?}");
        }
        assert_eq!(Email::parse(&format!("{}@c.d", "a".repeat(65))), Err(InvalidEmail::TooLong));
        assert_eq!(Email::parse(&format!("a@{}", "b".repeat(253))), Err(InvalidEmail::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_one_line_with_a_stable_key(text in odd_address()) {
            let Ok(email) = Email::parse(&text) else { return Ok(()) };
            let shown = email.as_str();
            prop_assert_eq!(Email::parse(shown), Ok(email.clone()));
            prop_assert_eq!(shown, text.trim());
            prop_assert!(shown.len() <= MAX_BYTES && !shown.contains(char::is_whitespace));
            prop_assert_eq!(shown.matches('@').count(), 1);
            let key = email.key();
            prop_assert_eq!(Email::key_of(&key), key.clone());
            prop_assert_eq!(Email::key_of(&text), key.clone());
            prop_assert_eq!(Email::key_of(&shown.to_ascii_uppercase()), key.clone());
            prop_assert_eq!(Email::parse(&key).map(|it| it.key()), Ok(key));
        }
    }

    fn odd_address() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[ \t]?[A-Za-z0-9.+_-]{1,66}@[A-Za-z0-9.-]{1,20}[.][a-z]{2,3}[ \n]?",
            "[a-zA-Z\u{80}-\u{2fff}]{1,9}@[a-z\u{80}-\u{2fff}.-]{1,9}",
            "[ -~]{0,9}@[ -~]{0,9}",
        ]
    }
}
