//! The rules that follow from a problem's code: retries, OAuth error codes, challenges.

use actix_web::http::StatusCode;

use super::Code;

impl Code {
    /// The code for a bare status: from actix itself, a middleware or an extractor.
    #[must_use]
    pub fn for_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::MissingToken,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            _ if status.is_server_error() => Self::InternalError,
            _ => *Self::ALL
                .iter()
                .find(|code| code.status() == status && **code != Self::EmailTaken)
                .unwrap_or(&Self::MalformedRequest),
        }
    }

    /// Whether the caller should keep its tokens and retry the same request automatically. A login
    /// rejected for too many wrong passwords is for its user to retry.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.has_retry_after() && self != Self::TooManyFailedLogins
    }

    /// Whether the response has a Retry-After.
    pub(super) fn has_retry_after(self) -> bool {
        matches!(
            self.status(),
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
        )
    }

    /// The RFC 6749 error code (5.2; 4.1.2.1 for the server's errors).
    pub(super) fn oauth_error(self) -> &'static str {
        match self {
            Self::InvalidCredentials
            | Self::InvalidGrant
            | Self::SecondFactorRequired
            | Self::InvalidSecondFactor => "invalid_grant",
            Self::InvalidClient | Self::UnknownClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            _ if self.has_retry_after() => "temporarily_unavailable",
            _ if self.status().is_server_error() => "server_error",
            _ => "invalid_request",
        }
    }

    /// The status of an error in this format.
    pub(super) fn status_in(self, form: ErrorFormat) -> StatusCode {
        match self {
            // RFC 6749 5.2: 401 is for the client's own authentication.
            Self::InvalidGrant if form == ErrorFormat::OAuth => StatusCode::BAD_REQUEST,
            _ => self.status(),
        }
    }

    /// Its challenge (RFC 6750 3): every 401 has one, with `invalid_token` only if the request had
    /// a token.
    pub(super) fn challenge(self) -> Option<String> {
        let error = match self {
            Self::InvalidToken | Self::TokenExpired | Self::TokenRevoked => "invalid_token",
            // RFC 6750 3.1.
            Self::InsufficientScope => "insufficient_scope",
            // RFC 9470 3.
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::MultipleCredentials | Self::TokenInQuery => "invalid_request",
            // RFC 6749 5.2: in the scheme that the client has to use.
            Self::InvalidClient => return Some(String::from(r#"Basic realm="doorward""#)),
            _ if self.status() == StatusCode::UNAUTHORIZED => {
                return Some(String::from(r#"Bearer realm="doorward""#));
            }
            _ => return None,
        };
        let description = self.detail();
        Some(format!(
            r#"Bearer realm="doorward", error="{error}", error_description="{description}""#
        ))
    }
}

/// The format of an error; the middleware chooses it by the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// A problem document.
    Problem,
    /// A problem document with the members of RFC 6749 as well, for OAuth clients.
    ProblemWithOAuth,
    /// The plain JSON of RFC 6749 5.2, which OAuth clients require.
    OAuth,
}
