//! Authentication of a request: an access token, verified without I/O.

use std::sync::Arc;
use std::time::Duration;

use super::authentication::factor_proven_at;
use super::{ClockSkewed, Sessions};
use crate::clock::Timestamp;
use crate::database::Id;
use crate::keys::{Jwks, KeyLookup};
use crate::revocations::RevocationStatus;
use crate::tokens::{self, Claims, Signed, TokenError};

/// The holder of a valid access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatedSession {
    /// The account (`sub`).
    pub user: Id,
    /// The session (`sid`).
    pub session: Id,
    /// When its user last proved a second factor (`auth_time`, if `amr` says so).
    pub factor_proven_at: Option<Timestamp>,
}

impl AuthenticatedSession {
    fn of(claims: &Claims, session: Id) -> Self {
        let factor_proven_at = factor_proven_at(claims.auth_time, &claims.amr);
        Self { user: claims.sub.into(), session, factor_proven_at }
    }
}

/// Why an access token is rejected.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It is not valid for this issuer, or has expired.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It belongs to a client, where a user's is required.
    #[error("the access token belongs to a client, not to a user")]
    NoUser,
    /// It, its session or its client was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The revocation status is temporarily unavailable.
    #[error("the revocation list is out of date")]
    Stale,
    /// Its key is unknown here, and the database cannot be asked for it.
    #[error("the signing keys cannot be looked up")]
    KeysUnavailable,
    /// Whether it has expired cannot be known here.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
}

/// The user of a token was authenticated too long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user was authenticated too long ago")]
pub struct TooOld;

impl Sessions {
    /// Verifies a user's access token: signature, claims, time and revocation. One with an unknown
    /// key waits for a database lookup; otherwise there is no I/O.
    ///
    /// # Errors
    /// [`AccessError`] says why it is rejected.
    pub async fn authenticate(&self, token: &str) -> Result<AuthenticatedSession, AccessError> {
        let claims = self.verify_access_token(token).await?;
        let session = claims.sid.ok_or(AccessError::NoUser)?;
        Ok(AuthenticatedSession::of(&claims, session.into()))
    }

    /// Verifies any access token, a user's or a client's, and returns its claims.
    ///
    /// # Errors
    /// [`AccessError`] says why it is rejected.
    pub async fn verify_access_token(&self, token: &str) -> Result<Arc<Claims>, AccessError> {
        let claims = self.verify_claims(token).await?;
        self.check_revocation(&claims)?;
        Ok(claims)
    }

    /// Checks that the user of a verified token was authenticated at most `max_age` seconds ago.
    /// The caller does so for each request.
    ///
    /// # Errors
    /// [`TooOld`], also for a token that does not say when.
    pub fn ensure_recent(&self, claims: &Claims, max_age: u64) -> Result<(), TooOld> {
        let (max_age, leeway) = (Duration::from_secs(max_age), self.policy.expected.leeway);
        let is_recent = claims.is_authenticated_within(max_age, leeway, self.clock.now());
        if is_recent { Ok(()) } else { Err(TooOld) }
    }

    /// The session of a user's access token, if it has ended; one that was revoked alone has a live
    /// session.
    ///
    /// # Errors
    /// [`AccessError`]: it is not a valid token of this issuer, or has expired.
    pub async fn ended_session(
        &self,
        token: &str,
    ) -> Result<Option<AuthenticatedSession>, AccessError> {
        let claims = self.verify_claims(token).await?;
        let Some(session) = claims.sid.map(Id::from) else { return Ok(None) };
        let client = Id::parse(&claims.client_id);
        let has_ended =
            [Some(session), client].into_iter().flatten().any(|id| self.revocations.contains(id));
        Ok(has_ended.then(|| AuthenticatedSession::of(&claims, session)))
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
        // A blocklist row is kept for the current configuration's lifetime, so a token with a
        // longer one must not outlive it.
        let made = Timestamp::from_unix_seconds(token.claims.iat);
        if now >= made.plus(self.policy.token_lifetime) {
            return Err(TokenError::Expired.into());
        }
        Ok(())
    }

    /// The published keys. When one of them has just been revoked, they are reloaded first: a
    /// service that learns of it asks for its replacement at once.
    pub async fn key_set(&self) -> Arc<Jwks> {
        let jwks = self.keys.jwks();
        if jwks.kids.iter().any(|kid| self.is_key_revoked(kid)) {
            // A failure is logged; the keys stay unchanged, and the next maintenance retries.
            let _ = self.keys.maintain().await;
            return self.keys.jwks();
        }
        jwks
    }

    /// Whether a key was revoked together with its tokens. It may still be loaded for a moment.
    fn is_key_revoked(&self, kid: &str) -> bool {
        tokens::revocation_id_of_kid(kid).is_some_and(|id| self.revocations.contains(id.into()))
    }
}

/// The ids by which a token can be revoked: its own, its session's, its client's.
fn revocable(claims: &Claims) -> impl Iterator<Item = Id> {
    let own = Id::from(claims.jti.uuid());
    let session = claims.sid.map(Id::from);
    [Some(own), session, Id::parse(&claims.client_id)].into_iter().flatten()
}
