//! Who asks: an access token, checked without I/O.

use std::sync::Arc;

use super::{ClockSkewed, Sessions};
use crate::clients;
use crate::clock::Timestamp;
use crate::database::Id;
use crate::keys::{Jwks, KeyLookup};
use crate::revocations::RevocationStatus;
use crate::tokens::{self, Claims, Signed, TokenError};

/// The holder of a good access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatedSession {
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
    /// Its key is not known here, and the database does not say whether there is one.
    #[error("the signing keys cannot be looked up")]
    KeysUnavailable,
    /// Whether it has expired cannot be known here.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
}

impl Sessions {
    /// Checks a user's access token: signature, claims, time and revocation. One that names an
    /// unknown key waits for a look at the database; there is no I/O else.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub async fn authenticate(&self, token: &str) -> Result<AuthenticatedSession, AccessError> {
        let claims = self.verify_access_token(token).await?;
        let session = claims.sid.ok_or(AccessError::NoUser)?;
        Ok(AuthenticatedSession { user: claims.sub.into(), session: session.into() })
    }

    /// Checks any access token, a user's or a client's, and says what it claims.
    ///
    /// # Errors
    /// [`AccessError`] names what is wrong with it.
    pub async fn verify_access_token(&self, token: &str) -> Result<Arc<Claims>, AccessError> {
        let token = self.verify_signature(token).await?;
        self.check_claims(&token)?;
        self.check_revocation(&token.claims)?;
        Ok(Arc::clone(&token.claims))
    }

    /// The session of a user's access token, if it has ended; one that was revoked alone has a live
    /// session.
    ///
    /// # Errors
    /// [`AccessError`]: it is not a token of this issuer, or not any more.
    pub async fn ended_session(
        &self,
        token: &str,
    ) -> Result<Option<AuthenticatedSession>, AccessError> {
        let claims = self.verify_claims(token).await?;
        let Some(session) = claims.sid.map(Id::from) else { return Ok(None) };
        let client = clients::canonical(&claims.client_id);
        let has_ended =
            [Some(session), client].into_iter().flatten().any(|id| self.revocations.contains(id));
        Ok(has_ended.then_some(AuthenticatedSession { user: claims.sub.into(), session }))
    }

    pub(super) fn check_revocation(&self, claims: &Claims) -> Result<(), AccessError> {
        match self.revocations.status_of(revocable(claims)) {
            RevocationStatus::NotRevoked => Ok(()),
            RevocationStatus::Revoked => Err(AccessError::Revoked),
            RevocationStatus::Unknown => Err(AccessError::Stale),
        }
    }

    /// [`Sessions::verify_access_token`] without revocation.
    pub(super) async fn verify_claims(&self, token: &str) -> Result<Arc<Claims>, AccessError> {
        let token = self.verify_signature(token).await?;
        self.check_claims(&token)?;
        Ok(Arc::clone(&token.claims))
    }

    pub(super) async fn verify_signature(&self, token: &str) -> Result<Arc<Signed>, AccessError> {
        match self.verify_with_known_keys(token) {
            Err(TokenError::UnknownKey(kid)) => match self.keys.look_up(&kid).await {
                KeyLookup::Found => Ok(self.verify_with_known_keys(token)?),
                KeyLookup::Unknown => Err(TokenError::UnknownKey(kid).into()),
                KeyLookup::Unanswered => Err(AccessError::KeysUnavailable),
            },
            result => Ok(result?),
        }
    }

    fn verify_with_known_keys(&self, token: &str) -> Result<Arc<Signed>, TokenError> {
        let key = |kid: &str| self.keys.verifying(kid).filter(|_| !self.is_key_revoked(kid));
        self.verified.verify_signature(token, key)
    }

    fn check_claims(&self, token: &Signed) -> Result<(), AccessError> {
        self.ensure_clock()?;
        let now = self.clock.now();
        token.check_claims(&self.policy.expected, now)?;
        // A row of the blocklist is kept for the lifetime of today's configuration, so a token of a
        // longer one must not outlive it.
        let made = Timestamp::from_unix_seconds(token.claims.iat);
        if now >= made.plus(self.policy.token_lifetime) {
            return Err(TokenError::Expired.into());
        }
        Ok(())
    }

    /// The published keys. When one of them has just been given up, they are read again first: who
    /// hears of that asks at once for the key in its place.
    pub async fn key_set(&self) -> Arc<Jwks> {
        let jwks = self.keys.jwks();
        if jwks.kids.iter().any(|kid| self.is_key_revoked(kid)) {
            // What fails is in the log; the keys stay as they were, and are tried again.
            let _ = self.keys.maintain().await;
            return self.keys.jwks();
        }
        jwks
    }

    /// Whether a key was taken out of use with all that it signed. It may be in the ring for a
    /// moment yet.
    fn is_key_revoked(&self, kid: &str) -> bool {
        tokens::revocation_id_of_kid(kid).is_some_and(|id| self.revocations.contains(id.into()))
    }
}

/// The ids by which a token can be taken back: its own, its session's, its client's.
fn revocable(claims: &Claims) -> impl Iterator<Item = Id> {
    let own = Id::from(claims.jti.uuid());
    let session = claims.sid.map(Id::from);
    [Some(own), session, clients::canonical(&claims.client_id)].into_iter().flatten()
}
