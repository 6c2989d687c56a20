//! The secrets of a mail request: the token that its client gets, the token of a mailed link, and
//! the code that a person types.
//!
//! All three are HMACs over the purpose and the id of the request's row, each under a derived key
//! of its own. The database holds none of them, so a copy of it mints nothing, and a forged token
//! is rejected before any I/O. Whether a genuine one is still valid depends on the row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::MailPurpose;
use crate::database::Id;
use crate::secret::{self, DerivedKey, MasterSecret, crockford, equal};

/// The prefix of the token for the client that made the request.
const REQUEST_PREFIX: &str = "dwq_";

/// The prefix of the token in a mailed link.
const LINK_PREFIX: &str = "dwm_";

/// The version of the format, the first byte of every token.
const VERSION: u8 = 1;
/// Bytes of the request's id.
const ID_BYTES: usize = 16;
/// Bytes that the tag covers, with the purpose: version and id.
const BODY_BYTES: usize = 1 + ID_BYTES;
/// Bytes of the tag: 128 bits, as for refresh tokens.
const TAG_BYTES: usize = 16;
/// Base64url characters of body and tag.
const ENCODED: usize = (BODY_BYTES + TAG_BYTES) * 4 / 3;

/// Characters of a code: 40 bits, so five guesses succeed with a probability below 2^-37.
const CODE: usize = 8;

/// A text that is not a token of this service for this purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of this service for this purpose")]
pub struct ForgedToken;

/// The keys of tokens and codes: the current ones, and the previous ones while the master secret is
/// being changed.
#[derive(Clone, Debug)]
pub struct MailKeys {
    current: Keys,
    previous: Option<Keys>,
}

#[derive(Clone, Debug)]
struct Keys {
    request: DerivedKey,
    link: DerivedKey,
    code: DerivedKey,
}

impl Keys {
    fn of(secret: &MasterSecret) -> Self {
        Self {
            request: secret.derive(secret::Purpose::MailRequest),
            link: secret.derive(secret::Purpose::MailLink),
            code: secret.derive(secret::Purpose::MailCode),
        }
    }
}

impl MailKeys {
    /// Mints tokens under `current`, and accepts those of both.
    #[must_use]
    pub fn new(current: &MasterSecret, previous: Option<&MasterSecret>) -> Self {
        Self { current: Keys::of(current), previous: previous.map(Keys::of) }
    }

    /// The token for the client that made the request. It is never mailed.
    #[must_use]
    pub fn request_token(&self, purpose: MailPurpose, id: Id) -> String {
        encode(&self.current.request, REQUEST_PREFIX, purpose, id)
    }

    /// The token in the link of a message.
    #[must_use]
    pub fn link_token(&self, purpose: MailPurpose, id: Id) -> String {
        encode(&self.current.link, LINK_PREFIX, purpose, id)
    }

    /// The code in a message, in two halves: `ABCD-EFGH`.
    #[must_use]
    pub fn code(&self, purpose: MailPurpose, id: Id) -> String {
        let code = code(&self.current.code, purpose, id);
        let half = |half: &[u8]| half.iter().copied().map(char::from).collect::<String>();
        let (one, other) = code.split_at(CODE / 2);
        half(one) + "-" + &half(other)
    }

    /// Verifies the token of a request and returns the request's id.
    ///
    /// # Errors
    /// [`ForgedToken`].
    pub fn read_request(&self, purpose: MailPurpose, text: &str) -> Result<Id, ForgedToken> {
        self.read(REQUEST_PREFIX, |keys| &keys.request, purpose, text)
    }

    /// Verifies the token of a link and returns the request's id.
    ///
    /// # Errors
    /// [`ForgedToken`].
    pub fn read_link(&self, purpose: MailPurpose, text: &str) -> Result<Id, ForgedToken> {
        self.read(LINK_PREFIX, |keys| &keys.link, purpose, text)
    }

    /// Whether a text is the code of a request, as people type it: in lower case, with or without
    /// the hyphen and spaces, O for 0 and I or L for 1.
    #[must_use]
    pub fn is_code(&self, purpose: MailPurpose, id: Id, text: &str) -> bool {
        let Some(typed) = crockford::parse::<CODE>(text) else { return false };
        let all = [Some(&self.current), self.previous.as_ref()];
        // Both are compared, so that the time does not depend on which one matches.
        all.into_iter()
            .flatten()
            .fold(false, |is_right, keys| is_right | equal(&code(&keys.code, purpose, id), &typed))
    }

    fn read(
        &self,
        prefix: &str,
        key: impl Fn(&Keys) -> &DerivedKey,
        purpose: MailPurpose,
        text: &str,
    ) -> Result<Id, ForgedToken> {
        let encoded = text.strip_prefix(prefix).ok_or(ForgedToken)?;
        // The exact length first: a long text is not decoded.
        if encoded.len() != ENCODED {
            return Err(ForgedToken);
        }
        let mut bytes = [0; BODY_BYTES + TAG_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).map_err(|_| ForgedToken)?;
        let (body, tag) = bytes.split_at(BODY_BYTES);
        let genuine = |keys: &Keys| equal(&mac(key(keys), purpose, body)[..TAG_BYTES], tag);
        let is_genuine = genuine(&self.current) || self.previous.as_ref().is_some_and(genuine);
        if length != bytes.len() || body[0] != VERSION || !is_genuine {
            return Err(ForgedToken);
        }
        Ok(Uuid::from_bytes(std::array::from_fn(|i| body[1 + i])).into())
    }
}

/// The first text in another, such as a pasted link, that has the form of a link's token.
#[must_use]
pub fn find_link_token(text: &str) -> Option<&str> {
    let start = text.find(LINK_PREFIX)?;
    text.get(start..start + LINK_PREFIX.len() + ENCODED)
}

fn encode(key: &DerivedKey, prefix: &str, purpose: MailPurpose, id: Id) -> String {
    let body = body(id);
    let tag = &mac(key, purpose, &body)[..TAG_BYTES];
    prefix.to_owned() + &URL_SAFE_NO_PAD.encode([body.as_slice(), tag].concat())
}

fn body(id: Id) -> [u8; BODY_BYTES] {
    let mut body = [VERSION; BODY_BYTES];
    body[1..].copy_from_slice(id.uuid().as_bytes());
    body
}

/// The purpose is part of the MAC: a token for one purpose is a forgery for every other.
fn mac(key: &DerivedKey, purpose: MailPurpose, body: &[u8]) -> [u8; 32] {
    key.mac(&[purpose.as_str().as_bytes(), &[0], body].concat())
}

fn code(key: &DerivedKey, purpose: MailPurpose, id: Id) -> [u8; CODE] {
    let mac = mac(key, purpose, &body(id));
    crockford::encode(&std::array::from_fn(|i| mac[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> MailKeys {
        MailKeys::new(&MasterSecret::generate(), None)
    }

    fn id() -> Id {
        Uuid::from_u128(0x018f_3c2e_7a5b_7cde_8f01_2345_6789_abcd).into()
    }

    #[test]
    fn a_token_is_valid_for_its_kind_and_purpose_only() {
        let keys = keys();
        let request = keys.request_token(MailPurpose::Reset, id());
        let link = keys.link_token(MailPurpose::Reset, id());
        assert_eq!(keys.read_request(MailPurpose::Reset, &request), Ok(id()));
        assert_eq!(keys.read_link(MailPurpose::Reset, &link), Ok(id()));
        for purpose in [MailPurpose::Registration, MailPurpose::EmailChange, MailPurpose::Notice] {
            assert_eq!(keys.read_request(purpose, &request), Err(ForgedToken));
            assert_eq!(keys.read_link(purpose, &link), Err(ForgedToken));
            assert_ne!(keys.code(purpose, id()), keys.code(MailPurpose::Reset, id()));
        }
        let swapped = request.replace(REQUEST_PREFIX, LINK_PREFIX);
        assert_eq!(keys.read_link(MailPurpose::Reset, &swapped), Err(ForgedToken));
        assert_eq!(keys.read_request(MailPurpose::Reset, &link), Err(ForgedToken));
    }

    #[test]
    fn a_token_with_any_other_character_is_rejected() {
        let keys = keys();
        let link = keys.link_token(MailPurpose::Reset, id());
        for place in 0..link.len() {
            for character in (0x20..0x7f).map(char::from) {
                let mut text: Vec<char> = link.chars().collect();
                text[place] = character;
                let text: String = text.into_iter().collect();
                assert_eq!(
                    keys.read_link(MailPurpose::Reset, &text).is_ok(),
                    text == link,
                    "{text}"
                );
            }
        }
        for text in ["", "dwm_", &link[..link.len() - 1], &(link.clone() + "A"), "dwm_\u{e9}"] {
            assert_eq!(keys.read_link(MailPurpose::Reset, text), Err(ForgedToken), "{text}");
        }
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let keys = keys();
        for n in 0..200_u128 {
            let id = Uuid::from_u128(n).into();
            let code = keys.code(MailPurpose::Registration, id);
            assert_eq!(code.len(), 9, "{code}");
            let bare = code.replace('-', "");
            let sloppy = format!(" {} ", bare.to_lowercase().replace('0', "o").replace('1', "l"));
            for typed in [&code, &bare, &sloppy] {
                assert!(keys.is_code(MailPurpose::Registration, id, typed), "{typed}");
            }
            for wrong in ["", &bare[1..], &(bare.clone() + "0"), "UUUUUUUU", "\u{df}"] {
                assert!(!keys.is_code(MailPurpose::Registration, id, wrong), "{wrong}");
            }
            let other = Uuid::from_u128(n + 1000).into();
            assert!(!keys.is_code(MailPurpose::Registration, other, &code));
        }
    }

    #[test]
    fn tokens_of_the_previous_secret_are_accepted_until_it_is_removed() {
        let (old, new) = (MasterSecret::generate(), MasterSecret::generate());
        let before = MailKeys::new(&old, None);
        let during = MailKeys::new(&new, Some(&old));
        let after = MailKeys::new(&new, None);
        let (link, code) =
            (before.link_token(MailPurpose::Reset, id()), before.code(MailPurpose::Reset, id()));
        assert_eq!(during.read_link(MailPurpose::Reset, &link), Ok(id()));
        assert!(during.is_code(MailPurpose::Reset, id(), &code));
        assert_eq!(after.read_link(MailPurpose::Reset, &link), Err(ForgedToken));
        assert!(!after.is_code(MailPurpose::Reset, id(), &code));
        assert!(after.is_code(MailPurpose::Reset, id(), &during.code(MailPurpose::Reset, id())));
    }
}
