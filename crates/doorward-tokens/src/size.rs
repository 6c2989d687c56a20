//! The length of access tokens, computed before they are signed.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::jwk::KID_LENGTH;
use crate::{Algorithm, Audience, Claims, TokenId};

/// The times of tokens have ten digits until the year 2286.
const LONGEST_TIME: i64 = 9_999_999_999;

/// The longest `amr` of a session.
const LONGEST_AMR: [&str; 3] = ["pwd", "otp", "mfa"];

/// The bytes of a signature: ES256 and `EdDSA`, and RS256 with 3072 bits.
const SIGNATURE_BYTES: usize = 64;
const RSA_SIGNATURE_BYTES: usize = 384;

/// The longest access token, and the parts of a token that are the same for every account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSizeLimit {
    /// The maximum length of a token, in bytes.
    pub max_bytes: usize,
    /// The algorithm, which determines the length of the signature.
    pub algorithm: Algorithm,
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
}

/// An access token would be longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access token would have {bytes} bytes, and tokens.max_bytes is {max_bytes}")]
pub struct TokenTooLong {
    /// The length that it would have.
    pub bytes: usize,
    /// The limit.
    pub max_bytes: usize,
}

impl TokenSizeLimit {
    /// Checks the length of a user's tokens with these roles and custom claims.
    ///
    /// # Errors
    /// [`TokenTooLong`].
    pub fn check_user(
        &self,
        roles: &[String],
        ext: Option<&Map<String, Value>>,
    ) -> Result<(), TokenTooLong> {
        self.check(&Claims {
            sid: Some(Uuid::max()),
            roles: roles.to_vec(),
            ext: ext.cloned(),
            auth_time: Some(LONGEST_TIME),
            amr: LONGEST_AMR.map(str::to_owned).into(),
            ..self.claims()
        })
    }

    /// Checks the length of a client's own tokens with this scope.
    ///
    /// # Errors
    /// [`TokenTooLong`].
    pub fn check_client(&self, scope: &str) -> Result<(), TokenTooLong> {
        let scope = (!scope.is_empty()).then(|| scope.to_owned());
        self.check(&Claims { scope, ..self.claims() })
    }

    fn check(&self, claims: &Claims) -> Result<(), TokenTooLong> {
        let (bytes, max_bytes) = (self.length(claims), self.max_bytes);
        if bytes > max_bytes { Err(TokenTooLong { bytes, max_bytes }) } else { Ok(()) }
    }

    /// The longest values of the claims that every token has.
    fn claims(&self) -> Claims {
        Claims {
            iss: self.issuer.clone(),
            sub: Uuid::max(),
            aud: Audience::One(self.audience.clone()),
            exp: LONGEST_TIME,
            iat: LONGEST_TIME,
            jti: TokenId::from_bits(u64::MAX),
            client_id: Uuid::max().to_string(),
            sid: None,
            scope: None,
            roles: Vec::new(),
            ext: None,
            auth_time: None,
            amr: Vec::new(),
        }
    }

    fn length(&self, claims: &Claims) -> usize {
        let alg = self.algorithm.as_str().len();
        let header = r#"{"typ":"at+jwt","alg":"","kid":""}"#.len() + alg + KID_LENGTH;
        // Text, numbers and lists of them can always be written as JSON.
        let claims = serde_json::to_vec(claims).map_or(usize::MAX / 2, |json| json.len());
        let signature = match self.algorithm {
            Algorithm::Es256 | Algorithm::EdDsa => SIGNATURE_BYTES,
            Algorithm::Rs256 => RSA_SIGNATURE_BYTES,
        };
        encoded(header) + 1 + encoded(claims) + 1 + encoded(signature)
    }
}

/// The length of this many bytes in base64url without padding.
const fn encoded(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}
