//! Issuing the tokens of a session: the access token is signed, the refresh token encoded.

use std::mem;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{ClockSkewed, Sessions, Subject};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError};
use crate::refresh_token::RefreshToken;
use crate::secret::{Secret, random_bytes};
use crate::tokens::{Claims, TokenId};

/// The response to a login and a refresh (RFC 6749 5.1, with additional members for clients).
#[derive(Serialize)]
pub struct Tokens {
    token_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    access_token: String,
    expires_in: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    refresh_token: String,
    refresh_expires_in: u64,
    generation: u32,
    session_id: Id,
    retry_window: u64,
}

/// The two tokens themselves, for a client that gets them outside the response's body.
pub struct TokenTexts {
    /// The access token.
    pub access: Secret<String>,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// The refresh token.
    pub refresh: Secret<String>,
    /// Seconds until the session reaches its idle timeout.
    pub refresh_expires_in: u64,
    /// The session that both belong to.
    pub session: Id,
    /// The refresh token's generation.
    pub generation: u32,
}

/// Tokens that a unit of work has granted: a session, a generation and a time.
#[derive(Debug)]
pub struct Grant {
    pub(super) token: RefreshToken,
    pub(super) access: AccessGrant,
    /// How long after a rotation further requests get the same tokens.
    pub(super) retry_window: Duration,
}

/// An access token that a unit of work has granted.
#[derive(Debug)]
pub struct AccessGrant {
    pub(super) subject: Subject,
    pub(super) session: Uuid,
    pub(super) client_id: String,
    pub(super) granted_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// The lifetime of the access token, unless the session ends earlier.
    pub(super) lifetime: Duration,
}

/// Why tokens cannot be issued, although the session is live.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing key failed.
    #[error("the access token cannot be signed")]
    Signing,
    /// Its times would be wrong.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
}

impl Tokens {
    /// Moves the tokens out; the rest, also when serialised, contains neither.
    pub fn take_texts(&mut self) -> TokenTexts {
        TokenTexts {
            access: Secret::new(mem::take(&mut self.access_token)),
            expires_in: self.expires_in,
            refresh: Secret::new(mem::take(&mut self.refresh_token)),
            refresh_expires_in: self.refresh_expires_in,
            session: self.session_id,
            generation: self.generation,
        }
    }
}

impl Sessions {
    /// Signs and encodes the tokens that a unit of work has granted.
    ///
    /// # Errors
    /// [`IssueError::Signing`].
    pub fn issue(&self, grant: &Grant) -> Result<Tokens, IssueError> {
        let (access_token, lifetime) = self.sign_granted(&grant.access)?;
        let AccessGrant { session, granted_at, expires_at, .. } = grant.access;
        Ok(Tokens {
            token_type: "Bearer",
            access_token,
            expires_in: lifetime.as_secs(),
            refresh_token: self.tags.encode(&grant.token),
            refresh_expires_in: expires_at.since(granted_at).as_secs(),
            generation: grant.token.generation,
            session_id: session.into(),
            retry_window: seconds_rounded_up(grant.retry_window),
        })
    }

    /// Signs the access token of a session, and returns its lifetime as well.
    pub(super) fn sign_granted(
        &self,
        grant: &AccessGrant,
    ) -> Result<(String, Duration), IssueError> {
        let AccessGrant { subject, session, client_id, granted_at, .. } = grant;
        let lifetime = grant.lifetime.min(grant.expires_at.since(*granted_at));
        let authentication = subject.authentication.as_ref();
        let access_token = self.sign(&Claims {
            sid: Some(*session),
            roles: subject.roles.clone(),
            ext: subject.ext.clone(),
            auth_time: authentication.map(|it| it.at.unix_seconds()),
            amr: authentication.map(|it| it.methods.names()).unwrap_or_default(),
            ..self.claims(subject.user, client_id.clone(), *granted_at, lifetime)
        })?;
        Ok((access_token, lifetime))
    }

    /// The claims that every access token has.
    pub(super) fn claims(
        &self,
        sub: Id,
        client_id: String,
        at: Timestamp,
        lifetime: Duration,
    ) -> Claims {
        Claims {
            iss: self.policy.expected.issuer.clone(),
            sub: sub.uuid(),
            aud: self.policy.expected.audience.as_str().into(),
            iat: at.unix_seconds(),
            exp: at.plus(lifetime).unix_seconds(),
            jti: TokenId::from_bits(u64::from_be_bytes(random_bytes())),
            client_id,
            sid: None,
            scope: None,
            roles: Vec::new(),
            ext: None,
            auth_time: None,
            amr: Vec::new(),
        }
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String, IssueError> {
        let token = self.keys.signing().sign(claims).map_err(|error| {
            tracing::error!(%error, "an access token cannot be signed");
            IssueError::Signing
        })?;
        if token.len() > self.policy.max_token_bytes {
            self.count_oversized(claims.sub, token.len());
        }
        Ok(token)
    }
}

/// Whole seconds: a client that waits so long has left the window.
const fn seconds_rounded_up(time: Duration) -> u64 {
    if time.subsec_nanos() == 0 { time.as_secs() } else { time.as_secs() + 1 }
}
