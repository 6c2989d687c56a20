//! Who asks: an access token, checked without I/O.

use super::Sessions;
use crate::clients;
use crate::clock::Timestamp;
use crate::database::Id;
use crate::revocations::Standing;
use crate::tokens::{self, Claims, TokenError};

/// The holder of a good access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The account (`sub`).
    pub user: Id,
    /// The session (`sid`).
    pub session: Id,
}

/// Why an access token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It is none of this issuer's, or not any more.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It speaks for a client, and a user is asked for.
    #[error("the access token belongs to a client and to no user")]
    NoUser,
    /// It, its session or its client was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// Whether it was revoked cannot be known at the moment.
    #[error("the revocation list is out of date")]
    Stale,
}

impl Sessions {
    /// Checks a user's access token: signature, claims, time and revocation.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub fn authenticate(&self, token: &str) -> Result<Access, AccessError> {
        let claims = self.check(token)?;
        let session = claims.sid.ok_or(AccessError::NoUser)?;
        Ok(Access { user: claims.sub.into(), session: session.into() })
    }

    /// Checks any access token, a user's or a client's, and says what it claims.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub fn check(&self, token: &str) -> Result<Claims, AccessError> {
        let claims = self.believe(token)?;
        self.check_standing(&claims)?;
        Ok(claims)
    }

    pub(super) fn check_standing(&self, claims: &Claims) -> Result<(), AccessError> {
        match self.revocations.standing(&revocable(claims)) {
            Standing::Good => Ok(()),
            Standing::Revoked => Err(AccessError::Revoked),
            Standing::Unknown => Err(AccessError::Stale),
        }
    }

    /// The same but for revocation.
    pub(super) fn believe(&self, token: &str) -> Result<Claims, TokenError> {
        let now = self.clock.now();
        let claims =
            tokens::verify(token, |kid| self.keys.verifying(kid), &self.policy.expected, now)?;
        // A row of the blocklist is kept for the lifetime of today's configuration, so a token of a
        // longer one must not outlive it.
        if now >= Timestamp::from_unix_seconds(claims.iat).plus(self.policy.token_lifetime) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

/// The ids by which a token can be taken back: its own, its session's, its client's.
fn revocable(claims: &Claims) -> Vec<Id> {
    let own = Id::from(claims.jti.uuid());
    let session = claims.sid.map(Id::from);
    [Some(own), session, clients::canonical(&claims.client_id)].into_iter().flatten().collect()
}
