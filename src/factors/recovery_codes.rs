//! Recovery codes: for an owner without the authenticator app.
//!
//! A code has 120 random bits, so neither a limit nor a slow hash is needed against guesses. The
//! digests of the unused codes are stored together in one column.

use crate::secret::{Secret, crockford, equal, random_bytes, sha256};

/// The number of codes that are made at a time.
pub const COUNT: usize = 10;

/// Characters of a code, shown in groups.
const CHARS: usize = 24;
const GROUP: usize = 6;

/// Bytes of a digest: SHA-256.
const DIGEST: usize = 32;

/// New codes, to be shown once.
pub struct RecoveryCodes {
    /// The codes, in groups: `7KQ3X9-…`.
    pub texts: Vec<Secret<String>>,
    /// Their digests, for the database.
    pub digests: Vec<u8>,
}

/// New random codes.
#[must_use]
pub fn generate() -> RecoveryCodes {
    let codes: [[u8; CHARS]; COUNT] =
        std::array::from_fn(|_| crockford::encode(&random_bytes::<CHARS>()));
    let shown = |code: &[u8; CHARS]| {
        let groups: Vec<String> = code
            .chunks(GROUP)
            .map(|group| group.iter().copied().map(char::from).collect())
            .collect();
        Secret::new(groups.join("-"))
    };
    RecoveryCodes {
        texts: codes.iter().map(shown).collect(),
        digests: codes.iter().flat_map(|code| sha256(code)).collect(),
    }
}

/// The digests without that of this code; `None` when it is not among them.
#[must_use]
pub fn without(digests: &[u8], code: &str) -> Option<Vec<u8>> {
    let digest = sha256(&crockford::parse::<CHARS>(code)?);
    // All are compared, so that the time does not depend on which one matches.
    let mut rest = Vec::with_capacity(digests.len());
    for one in digests.chunks(DIGEST).filter(|one| !equal(one, &digest)) {
        rest.extend_from_slice(one);
    }
    (rest.len() < digests.len()).then_some(rest)
}

/// The number of codes with these digests.
#[must_use]
pub const fn count(digests: &[u8]) -> usize {
    digests.len() / DIGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_found_once_as_people_type_it() {
        let RecoveryCodes { texts, mut digests } = generate();
        assert_eq!((texts.len(), count(&digests)), (COUNT, COUNT));
        for (used, code) in texts.iter().enumerate() {
            let code = code.expose();
            assert_eq!(code.len(), CHARS + 3, "{code}");
            let sloppy = code.replace('-', " ").to_lowercase().replace('1', "l").replace('0', "o");
            assert_eq!(without(&digests, &sloppy), without(&digests, code));
            digests = without(&digests, code).unwrap();
            assert_eq!(count(&digests), COUNT - used - 1);
            assert_eq!(without(&digests, code), None, "it was used");
        }
    }

    #[test]
    fn other_texts_are_no_codes() {
        let RecoveryCodes { texts, digests } = generate();
        let short = &texts[0].expose()[1..];
        for odd in ["", "123456", short, &(texts[0].expose().clone() + "A"), "\u{e9}"] {
            assert_eq!(without(&digests, odd), None, "{odd}");
        }
        assert_eq!(without(&digests, generate().texts[0].expose()), None);
    }
}
