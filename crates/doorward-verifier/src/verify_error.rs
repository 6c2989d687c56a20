//! Why a token is rejected.

use std::time::Duration;

use doorward_tokens::TokenError;

/// Why a token is rejected. The texts may be shown to its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not valid for this issuer and audience, or has expired. `Expired` invites the client
    /// to refresh.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It, its session, its client or its key was revoked. A refresh will not help if it was the
    /// session.
    #[error("the access token was revoked")]
    Revoked,
    /// The user was authenticated longer ago than [`Verifier::max_auth_age`](super::Verifier)
    /// allows, or the token does not say when.
    #[error("a more recent login is required")]
    InsufficientAuthentication {
        /// The limit.
        max_age: Duration,
    },
    /// The revocation list or the key set is too stale.
    #[error("revocation status is temporarily unavailable")]
    Stale,
    /// Keys or revocations have not been loaded yet since the start.
    #[error("access tokens cannot be verified yet")]
    NotReady,
}

impl VerifyError {
    /// Whether the same token may be accepted later: answer 503 with `Retry-After`, not 401, which
    /// would log the user out.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Stale | Self::NotReady)
    }
}
