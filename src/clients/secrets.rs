//! The secrets of confidential clients: their format, and the hash that is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::{Secret, random_bytes, sha256};

/// The prefix of every client secret, so that people and secret scanners recognise it.
const SECRET_PREFIX: &str = "dws_";

/// The base64url characters after it: 256 bits.
const SECRET_CHARS: usize = 43;

pub(super) fn new_secret() -> Secret<String> {
    Secret::new(SECRET_PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

/// The stored form of a secret: its SHA-256. A slow hash protects human-chosen passwords; 2^256
/// secrets cannot be tried, however fast the hash is.
pub(super) fn digest(secret: &str) -> [u8; 32] {
    sha256(secret.as_bytes())
}

pub(super) fn is_secret(text: &str) -> bool {
    text.strip_prefix(SECRET_PREFIX).is_some_and(|rest| {
        rest.len() == SECRET_CHARS
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    })
}
