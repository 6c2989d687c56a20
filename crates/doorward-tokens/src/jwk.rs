//! Public keys as JSON (RFC 7517), with their algorithms.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::ThumbprintHash;
use serde::{Deserialize, Serialize};

/// The length of an RSA modulus in bytes: 2048 to 8192 bits.
const RSA_MODULUS: RangeInclusive<usize> = 256..=1024;

/// The length of an RSA exponent in bytes; nearly all are 65537, three bytes.
const RSA_EXPONENT: RangeInclusive<usize> = 1..=8;

/// The signature algorithms. No shared-secret algorithm, and no `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&str", try_from = "String")]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: every verifier supports it.
    #[default]
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// Its name in a header and in a JWK (RFC 7518 3.1, RFC 8037 3.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    pub(super) const fn for_crypto(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }
}

/// An unknown algorithm name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be ES256, EdDSA or RS256")]
pub struct UnknownAlgorithm;

/// Case-sensitive: comparisons that ignored case have let `none` in elsewhere.
impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::Es256, Self::EdDsa, Self::Rs256]
            .into_iter()
            .find(|alg| alg.as_str() == name)
            .ok_or(UnknownAlgorithm)
    }
}

impl TryFrom<String> for Algorithm {
    type Error = UnknownAlgorithm;

    fn try_from(name: String) -> Result<Self, UnknownAlgorithm> {
        name.parse()
    }
}

impl From<Algorithm> for &'static str {
    fn from(alg: Algorithm) -> Self {
        alg.as_str()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a key is not usable for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A private key that is not PKCS#8 for the algorithm, or is too weak for it.
    #[error("not a PKCS#8 private key for {0}")]
    Private(Algorithm),
    /// A JWK of an algorithm that Doorward does not use.
    #[error("not the public key of a known algorithm, for signatures")]
    Kind,
    /// A JWK whose numbers are missing, not base64url, or out of range.
    #[error("a number of the public key is missing or out of range")]
    Number,
}

/// A public key as published in the key set. The type has no room for a private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Members", try_from = "Members")]
pub struct Jwk {
    kid: String,
    key: PublicKey,
}

/// The numbers of a public key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    Ed25519 { x: [u8; 32] },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// The number of thumbprint characters in the `kid`: 66 bits.
const KID_LENGTH: usize = 11;

impl PublicKey {
    /// Whether its numbers have valid lengths for the algorithm. For elliptic curves the types
    /// ensure it.
    pub(super) fn has_sound_size(&self) -> bool {
        match self {
            Self::Rsa { n, e } => RSA_MODULUS.contains(&n.len()) && RSA_EXPONENT.contains(&e.len()),
            Self::P256 { .. } | Self::Ed25519 { .. } => true,
        }
    }
}

impl Jwk {
    /// A key with its own `kid`: the beginning of its thumbprint, long enough to distinguish a few
    /// keys. The whole thumbprint would be a tenth of every access token.
    pub(super) fn new(key: PublicKey) -> Self {
        let mut kid = thumbprint(&key);
        kid.truncate(KID_LENGTH);
        Self { kid, key }
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its only algorithm.
    #[must_use]
    pub const fn alg(&self) -> Algorithm {
        match self.key {
            PublicKey::P256 { .. } => Algorithm::Es256,
            PublicKey::Ed25519 { .. } => Algorithm::EdDsa,
            PublicKey::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The SHA-256 thumbprint (RFC 7638 3), whose beginning is the `kid` of Doorward's own keys.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.key)
    }

    pub(super) fn for_crypto(&self) -> DecodingKey {
        match &self.key {
            // The uncompressed point (SEC 1 2.3.3), which the library calls "DER".
            PublicKey::P256 { x, y } => DecodingKey::from_ec_der(&[[4].as_slice(), x, y].concat()),
            PublicKey::Ed25519 { x } => DecodingKey::from_ed_der(x),
            PublicKey::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
        }
    }
}

/// RFC 7638 3.2: only the required members, sorted by name, without white space.
fn thumbprint(key: &PublicKey) -> String {
    let text = match key {
        PublicKey::P256 { x, y } => {
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
        }
        PublicKey::Ed25519 { x } => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
        PublicKey::Rsa { n, e } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
        }
    };
    #[expect(clippy::expect_used, reason = "the library's signature allows for other providers")]
    let digest =
        (DEFAULT_PROVIDER.key_utils.compute_digest)(text.as_bytes(), ThumbprintHash::SHA256)
            .expect("SHA-256 digests every text");
    encode(&digest)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The JSON form of a JWK (RFC 7517 4, RFC 7518 6, RFC 8037 2). Other members are ignored.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Members {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    r#use: String,
    alg: String,
    kid: String,
}

impl From<Jwk> for Members {
    fn from(jwk: Jwk) -> Self {
        let common = Self {
            alg: jwk.alg().to_string(),
            kid: jwk.kid,
            r#use: "sig".into(),
            ..Self::default()
        };
        match jwk.key {
            PublicKey::P256 { x, y } => Self {
                kty: "EC".into(),
                crv: Some("P-256".into()),
                x: Some(encode(&x)),
                y: Some(encode(&y)),
                ..common
            },
            PublicKey::Ed25519 { x } => Self {
                kty: "OKP".into(),
                crv: Some("Ed25519".into()),
                x: Some(encode(&x)),
                ..common
            },
            PublicKey::Rsa { n, e } => {
                Self { kty: "RSA".into(), n: Some(encode(&n)), e: Some(encode(&e)), ..common }
            }
        }
    }
}

impl TryFrom<Members> for Jwk {
    type Error = KeyError;

    fn try_from(jwk: Members) -> Result<Self, KeyError> {
        if jwk.r#use != "sig" || jwk.kid.is_empty() {
            return Err(KeyError::Kind);
        }
        let key = match (jwk.alg.as_str(), jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("ES256", "EC", Some("P-256")) => {
                PublicKey::P256 { x: coordinate(jwk.x)?, y: coordinate(jwk.y)? }
            }
            ("EdDSA", "OKP", Some("Ed25519")) => PublicKey::Ed25519 { x: coordinate(jwk.x)? },
            ("RS256", "RSA", None) => PublicKey::Rsa { n: integer(jwk.n)?, e: integer(jwk.e)? },
            _ => return Err(KeyError::Kind),
        };
        if key.has_sound_size() { Ok(Self { kid: jwk.kid, key }) } else { Err(KeyError::Number) }
    }
}

/// RFC 7518 6.2.1.2: always the full length, leading zeros included.
fn coordinate(text: Option<String>) -> Result<[u8; 32], KeyError> {
    decode(text)?.try_into().map_err(|_| KeyError::Number)
}

/// RFC 7518 2, `Base64urlUInt`: never a leading zero.
fn integer(text: Option<String>) -> Result<Vec<u8>, KeyError> {
    let bytes = decode(text)?;
    if bytes.first() == Some(&0) { Err(KeyError::Number) } else { Ok(bytes) }
}

fn decode(text: Option<String>) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text.ok_or(KeyError::Number)?).map_err(|_| KeyError::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// RFC 7638 3.1.
    const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7\
        aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4\
        QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNL\
        yrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDK\
        gw";

    fn rsa() -> Value {
        json!({"kty": "RSA", "n": MODULUS, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
               "use": "sig"})
    }

    /// RFC 8037 A.2 and A.3.
    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
               "alg": "EdDSA", "kid": "a", "use": "sig"})
    }

    /// RFC 7515 A.3.1.
    fn p256() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "alg": "ES256", "kid": "b",
               "use": "sig"})
    }

    fn parse(value: &Value) -> Result<Jwk, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        let thumbprint = |value: &Value| parse(value).unwrap().thumbprint();
        assert_eq!(thumbprint(&rsa()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(thumbprint(&ed25519()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(thumbprint(&p256()), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
    }

    #[test]
    fn a_jwk_is_written_as_it_was_read() {
        for written in [rsa(), ed25519(), p256()] {
            let jwk = parse(&written).unwrap();
            assert_eq!(serde_json::to_value(&jwk).unwrap(), written);
            assert_eq!(Value::from(jwk.alg().as_str()), written["alg"]);
            assert_eq!(Value::from(jwk.kid()), written["kid"]);
        }
    }

    #[test]
    fn unknown_members_are_ignored() {
        let mut jwk = p256();
        jwk["key_ops"] = json!(["verify"]);
        jwk["d"] = json!("never read");
        assert_eq!(parse(&jwk), parse(&p256()));
    }

    #[test]
    fn jwks_of_other_kinds_or_sizes_are_refused() {
        for (mut jwk, member, value) in [
            (p256(), "alg", json!("ES384")),
            (p256(), "alg", json!("HS256")),
            (p256(), "alg", json!("EdDSA")),
            (p256(), "alg", Value::Null),
            (p256(), "crv", json!("secp256k1")),
            (p256(), "crv", Value::Null),
            (p256(), "use", json!("enc")),
            (p256(), "kid", json!("")),
            (p256(), "kid", json!(7)),
            (p256(), "kty", json!("oct")),
            (p256(), "y", Value::Null),
            (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE")),
            (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEV")),
            (p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=")),
            (ed25519(), "x", json!("AAAA")),
            (ed25519(), "crv", json!("Ed448")),
            (rsa(), "alg", json!("PS256")),
            (rsa(), "e", json!("")),
            (rsa(), "n", json!("AQAB")),
            (rsa(), "n", json!(format!("AAAA{MODULUS}"))),
        ] {
            jwk[member] = value;
            assert!(parse(&jwk).is_err(), "{jwk}");
        }
    }

    #[test]
    fn algorithm_names_are_case_sensitive() {
        for alg in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            assert_eq!(alg.to_string().parse(), Ok(alg));
            let json = serde_json::to_value(alg).unwrap();
            assert_eq!(json, alg.as_str());
            assert_eq!(serde_json::from_value::<Algorithm>(json).unwrap(), alg);
        }
        for other in ["es256", "EDDSA", "HS256", "none", "NONE", "", " ES256"] {
            assert_eq!(other.parse::<Algorithm>(), Err(UnknownAlgorithm));
        }
        assert!(serde_json::from_value::<Algorithm>(json!({"ES256": null})).is_err());
    }
}
