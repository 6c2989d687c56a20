//! Decodes, modifies and encodes JWTs.

use std::fmt::{self, Display, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The three parts of a token. A modified token keeps every other part byte for byte, also the
/// signature, which then does not match.
#[derive(Clone, Debug)]
pub struct Jwt {
    header: String,
    claims: String,
    signature: String,
}

impl Jwt {
    #[track_caller]
    pub fn read(token: &str) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("three parts: {token}") };
        Self { header: header.into(), claims: claims.into(), signature: signature.into() }
    }

    pub fn header(&self) -> Value {
        json_of(&self.header)
    }

    pub fn claims(&self) -> Value {
        json_of(&self.claims)
    }

    /// The signed text.
    pub fn message(&self) -> String {
        format!("{}.{}", self.header, self.claims)
    }

    pub fn signature(&self) -> Vec<u8> {
        decode(&self.signature)
    }

    pub fn with_header(&self, name: &str, value: impl Into<Value>) -> Self {
        self.with_header_text(with(self.header(), name, value).to_string())
    }

    pub fn without_header(&self, name: &str) -> Self {
        self.with_header_text(without(self.header(), name).to_string())
    }

    pub fn with_header_text(&self, text: impl AsRef<[u8]>) -> Self {
        Self { header: encode(text), ..self.clone() }
    }

    pub fn with_claim(&self, name: &str, value: impl Into<Value>) -> Self {
        self.with_claims_text(with(self.claims(), name, value).to_string())
    }

    pub fn without_claim(&self, name: &str) -> Self {
        self.with_claims_text(without(self.claims(), name).to_string())
    }

    pub fn with_claims_text(&self, text: impl AsRef<[u8]>) -> Self {
        Self { claims: encode(text), ..self.clone() }
    }

    pub fn with_signature(&self, signature: impl AsRef<[u8]>) -> Self {
        Self { signature: encode(signature), ..self.clone() }
    }

    /// The token with the signature that this function computes over its message.
    pub fn signed(&self, sign: impl FnOnce(&str) -> Vec<u8>) -> Self {
        self.with_signature(sign(&self.message()))
    }
}

impl Display for Jwt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.header, self.claims, self.signature)
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Another encoding of the same bytes: the last letter has bits that decode to nothing.
pub fn with_spare_bits(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut letters = part.as_bytes().to_vec();
    if let Some(last) = letters.last_mut() {
        let value = ALPHABET.iter().position(|letter| letter == last).unwrap_or(0);
        *last = ALPHABET[(value + 1) % 64];
    }
    String::from_utf8(letters).unwrap_or_default()
}

#[track_caller]
fn json_of(part: &str) -> Value {
    serde_json::from_slice(&decode(part)).unwrap()
}

fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    object[name] = value.into();
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}
