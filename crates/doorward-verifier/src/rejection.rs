//! The bearer token of a request, and the error responses (RFC 6750).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::{Claims, Verifier, VerifyError};

/// Seconds after which a client may retry when tokens cannot be verified: as long as a reconnection
/// takes.
const RETRY_AFTER: u64 = 2;

/// The claims of the accepted access token of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access(pub Arc<Claims>);

impl Deref for Access {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.0
    }
}

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It has no bearer token: 401.
    NoToken,
    /// It has several `Authorization` headers: 400.
    SeveralTokens,
    /// Its token is rejected: 401, or 503 when the error is transient.
    Token(VerifyError),
}

impl Rejection {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::SeveralTokens => 400,
            Self::Token(error) if error.is_transient() => 503,
            Self::NoToken | Self::Token(_) => 401,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 3): every 401 has one, with the error only if the
    /// request had a token.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        let error = match self {
            Self::NoToken => return Some("Bearer".to_owned()),
            Self::SeveralTokens => "invalid_request",
            Self::Token(error) if error.is_transient() => return None,
            // RFC 9470 3.
            Self::Token(VerifyError::InsufficientAuthentication { max_age }) => {
                return Some(format!(
                    r#"Bearer error="insufficient_user_authentication", error_description="{self}", max_age="{}""#,
                    max_age.as_secs()
                ));
            }
            Self::Token(_) => "invalid_token",
        };
        Some(format!(r#"Bearer error="{error}", error_description="{self}""#))
    }

    /// The value of `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        (self.status() == 503).then_some(RETRY_AFTER)
    }

    /// The body of the response, as `application/problem+json` (RFC 9457).
    #[must_use]
    pub fn problem(&self) -> String {
        let title = match self.status() {
            400 => "Bad Request",
            503 => "Service Unavailable",
            _ => "Unauthorized",
        };
        serde_json::json!({ "title": title, "status": self.status(), "detail": self.to_string() })
            .to_string()
    }
}

/// These texts are quoted in a header, so they contain no quotes.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("the request has no access token"),
            Self::SeveralTokens => f.write_str("the request has several Authorization headers"),
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::Token(error)
    }
}

/// The token among the values of the `Authorization` headers.
pub(super) fn token<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a str, Rejection> {
    let value = values.next().ok_or(Rejection::NoToken)?;
    if values.next().is_some() {
        return Err(Rejection::SeveralTokens);
    }
    let text = str::from_utf8(value).map_err(|_| Rejection::NoToken)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("Bearer") {
        Ok(token.trim_matches(' '))
    } else {
        Err(Rejection::NoToken)
    }
}

/// Accepts a request, or returns why it is rejected.
pub(super) async fn admit(verifier: &Verifier, token: &str) -> Result<Access, Rejection> {
    Ok(Access(verifier.verify_or_refetch(token).await?))
}
