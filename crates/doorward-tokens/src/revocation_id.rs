//! Conversion between claims (`jti`, `sid`, `kid`, `client_id`) and the blocklist's 128-bit ids.
//!
//! The ids of sessions and clients are UUIDs and are written as such. A `jti` has 64 bits and a
//! `kid` has 66. As 128-bit numbers both are below every `UUIDv7`, which begins with its time
//! ([`TokenId::uuid`]); one more bit marks a `kid`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::TokenId;
use super::jwk::KID_LENGTH;

/// The bit that marks the id of a `kid`. It is above every `jti`; the bits of the `kid` are below
/// it, six for each character.
const KID_BIT: u128 = 1 << (6 * KID_LENGTH);

/// The id of a `kid`: 11 characters of base64url. `None` for any other text.
#[must_use]
pub fn revocation_id_of_kid(kid: &str) -> Option<Uuid> {
    if kid.len() != KID_LENGTH {
        return None;
    }
    // A leading zero digit fills whole bytes.
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(format!("A{kid}")).ok()?.try_into().ok()?;
    let mut number = [0; 16];
    number[7..].copy_from_slice(&bytes);
    Some(Uuid::from_u128(KID_BIT | u128::from_be_bytes(number)))
}

/// A blocklist id in the form of its claim: `jti`, `kid`, `sid` or `client_id`.
#[must_use]
pub fn revocation_id_to_claim(id: Uuid) -> String {
    let (high, low) = id.as_u64_pair();
    match high {
        0 => TokenId::from_bits(low).to_string(),
        4..8 => {
            let bytes = (id.as_u128() & (KID_BIT - 1)).to_be_bytes();
            URL_SAFE_NO_PAD.encode(&bytes[7..])[1..].to_owned()
        }
        _ => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_round_trips() {
        for kid in ["AAAAAAAAAAA", "___________", "zQ3-kUr_t0B"] {
            let id = revocation_id_of_kid(kid).unwrap();
            assert_eq!(revocation_id_to_claim(id), kid);
        }
        assert_eq!(revocation_id_of_kid("short"), None);
        assert_eq!(revocation_id_of_kid("with=padding"), None);
        let jti = TokenId::from_bits(0x0102_0304_0506_0708);
        assert_eq!(revocation_id_to_claim(jti.uuid()), "AQIDBAUGBwg");
        let session = "019ab3e1-0b52-7e90-a2c6-5d41f7b80a93";
        assert_eq!(revocation_id_to_claim(Uuid::parse_str(session).unwrap()), session);
    }
}
