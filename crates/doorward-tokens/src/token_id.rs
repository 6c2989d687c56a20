//! The id of an access token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A `jti`: 64 random bits, in 11 characters of base64url.
///
/// Among ten million valid tokens, two have the same id with a probability of 3 in a million; then
/// revoking one would revoke the other, too. A UUID would reduce that probability at the cost of 25
/// more characters in every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(u64);

impl TokenId {
    /// The id with these bits, which should be random.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The id in the blocklist's keyspace of tokens and sessions. No session's id begins with 64
    /// zero bits: a `UUIDv7` begins with its time.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        Uuid::from_u64_pair(0, self.0)
    }
}

/// The form in tokens.
impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(de::Error::custom)?;
        let bits: [u8; 8] =
            bytes.try_into().map_err(|_| de::Error::custom("not a jti of 64 bits"))?;
        Ok(Self(u64::from_be_bytes(bits)))
    }
}
