//! E-mail addresses.

use std::borrow::Cow;
use std::fmt;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use serde::{Serialize, Serializer};
use unicode_normalization::UnicodeNormalization as _;

/// The longest address that mail can carry, in bytes (RFC 5321 4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;

/// The longest part before the `@`, in bytes (RFC 5321 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// The longest label of a domain, in bytes (RFC 1035 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

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
        check(text)?;
        // Mail is sent to the domain in the form that IDNA gives it, so that must be valid, too.
        let key = Self::key_of(text);
        check(&key)?;
        if key.rsplit('@').next().is_some_and(has_long_label) {
            return Err(InvalidEmail::TooLong);
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

    /// The canonical key of any text, a valid address or not: trimmed, composed (NFC), ASCII
    /// letters in lower case, the domain as an A-label (UTS 46, non-transitional). Canonically
    /// equivalent addresses are the same account; look-alike letters never are.
    #[must_use]
    pub fn key_of(raw: &str) -> String {
        let text = raw.trim();
        let Some((local, domain)) = text.rsplit_once('@') else { return normalized(text) };
        // A domain that IDNA rejects is compared like any text: every text has a key.
        let domain = Uts46::new()
            .to_ascii(domain.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Ignore)
            .map_or_else(|_| normalized(domain), Cow::into_owned);
        normalized(local) + "@" + &domain
    }

    /// The canonical and the former key of any text.
    #[must_use]
    pub fn keys_of(raw: &str) -> EmailKeys {
        let former = raw.trim().to_ascii_lowercase();
        EmailKeys { canonical: Self::key_of(raw), former }
    }
}

/// The keys under which the account of an address may be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailKeys {
    /// [`Email::key_of`].
    pub canonical: String,
    /// The key that earlier versions computed: trimmed, ASCII letters in lower case. Of two
    /// accounts with one canonical key, one has kept its former key and is found by that spelling
    /// only.
    pub former: String,
}

impl EmailKeys {
    /// Whether an account may have another key than the canonical one.
    pub(super) fn are_different(&self) -> bool {
        self.canonical != self.former
    }

    /// The account that this spelling means: the one with its former key, if there is one.
    pub(super) fn pick<T>(&self, mut found: Vec<T>, key: impl Fn(&T) -> &String) -> Option<T> {
        let own = found.iter().position(|one| *key(one) == self.former).unwrap_or(0);
        (own < found.len()).then(|| found.swap_remove(own))
    }
}

fn normalized(text: &str) -> String {
    text.nfc().collect::<String>().to_ascii_lowercase()
}

/// Checks that a text is `somebody@somewhere`, in a form that mail can carry.
fn check(text: &str) -> Result<(), InvalidEmail> {
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
    Ok(())
}

/// Whether a label of a domain, as DNS spells it, is too long for DNS.
fn has_long_label(domain: &str) -> bool {
    domain.split('.').any(|label| label.len() > MAX_LABEL_BYTES)
}

/// Characters that are invisible or change the writing direction: they would make two different
/// addresses look the same.
fn is_invisible(c: char) -> bool {
    // Default_Ignorable_Code_Point of Unicode (UAX 44), and the embeddings of writing direction.
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
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
            ("ada@example.com", "ada@ex\u{430}mple.com"),
            ("strasse@x.y", "stra\u{df}e@x.y"),
            ("ada@strasse.example", "ada@stra\u{df}e.example"),
            ("\u{fb01}@x.y", "fi@x.y"),
            ("\u{e9}@x.y", "\u{c9}@x.y"),
        ] {
            assert_ne!(Email::key_of(a), Email::key_of(b), "{a} {b}");
        }
    }

    #[test]
    fn canonical_equivalents_and_spellings_of_a_domain_are_one_address() {
        for (key, spellings) in [
            ("ren\u{e9}@example.com", &["ren\u{e9}@example.com", "RENe\u{301}@Example.com"][..]),
            // The Kelvin sign is canonically equivalent to the letter K.
            ("k@x.y", &["K@x.y", "\u{212a}@x.y"]),
            (
                "ada@xn--bcher-kva.example",
                &[
                    "ada@b\u{fc}cher.example",
                    "Ada@BU\u{308}CHER.example",
                    "ada@XN--BCHER-KVA.Example",
                    "ada@b\u{fc}cher\u{3002}example",
                ],
            ),
            ("ada@xn--fa-hia.example", &["ada@fa\u{df}.example"]),
            // IDNA rejects the label, so it is compared like any text.
            ("ada@xn--a.example", &["ADA@xn--a.example"]),
        ] {
            for spelling in spellings {
                assert_eq!(Email::key_of(spelling), key, "{spelling}");
            }
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
            "a\u{3164}@c.d",
            "a\u{61c}@c.d",
            "a\u{fe0f}@c.d",
            "a\u{180e}@c.d",
            "a\u{e0061}@c.d",
            "a@c\u{fe0f}.d",
        ] {
            assert_eq!(Email::parse(bad), Err(InvalidEmail::Shape), "{bad:?}");
        }
        assert_eq!(Email::parse(&format!("{}@c.d", "a".repeat(65))), Err(InvalidEmail::TooLong));
        assert_eq!(Email::parse(&format!("a@{}", "b".repeat(253))), Err(InvalidEmail::TooLong));
        assert_eq!(Email::parse(&format!("a@{}.d", "b".repeat(64))), Err(InvalidEmail::TooLong));
        assert!(Email::parse(&format!("a@{}.d", "b".repeat(63))).is_ok());
        assert!(Email::parse(&format!("a@{}.d", "\u{e9}".repeat(50))).is_ok());
        assert_eq!(
            Email::parse(&format!("a@{}.d", "\u{e9}".repeat(63))),
            Err(InvalidEmail::TooLong)
        );
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
