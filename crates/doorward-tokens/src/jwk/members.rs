//! The JSON form of a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Jwk, KeyError, PublicKey, encode};

/// The JSON form of a JWK (RFC 7517 4, RFC 7518 6, RFC 8037 2). Other members are ignored.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Members {
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
        if key.has_valid_size() { Ok(Self { kid: jwk.kid, key }) } else { Err(KeyError::Number) }
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
