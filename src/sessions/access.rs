//! Who asks: an access token, checked without I/O.

use super::Sessions;
use crate::clock::Timestamp;
use crate::database::Id;
use crate::revocations::Standing;
use crate::tokens::{self, TokenError};

/// The holder of a good access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The account (`sub`).
    pub user: Id,
    /// The session (`sid`).
    pub session: Id,
}

/// What a good access token says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub access: Access,
    /// The client that it was issued to (`client_id`).
    pub client: String,
    /// What the token is for (`scope`), if it is limited.
    pub scope: Option<String>,
    /// The user's roles.
    pub roles: Vec<String>,
}

/// Why an access token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It is none of this issuer's, or not any more.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It, or its session, was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// Whether it was revoked cannot be known at the moment.
    #[error("the revocation list is out of date")]
    Stale,
}

impl Sessions {
    /// Checks an access token: signature, claims, time and revocation.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub fn authenticate(&self, token: &str) -> Result<Access, AccessError> {
        self.identify(token).map(|identity| identity.access)
    }

    /// The same, for who wants to know all that the token says.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub fn identify(&self, token: &str) -> Result<Identity, AccessError> {
        let now = self.clock.now();
        let claims =
            tokens::verify(token, |kid| self.keys.verifying(kid), &self.policy.expected, now)?;
        // A row of the blocklist is kept for the lifetime of today's configuration, so a token of a
        // longer one must not outlive it.
        if now >= Timestamp::from_unix_seconds(claims.iat).plus(self.policy.token_lifetime) {
            return Err(TokenError::Expired.into());
        }
        let access = Access { user: claims.sub.into(), session: claims.sid.into() };
        match self.revocations.standing(claims.jti.uuid().into(), access.session) {
            Standing::Good => Ok(Identity {
                access,
                client: claims.client_id,
                scope: claims.scope,
                roles: claims.roles,
            }),
            Standing::Revoked => Err(AccessError::Revoked),
            Standing::Unknown => Err(AccessError::Stale),
        }
    }
}
