//! Token introspection (RFC 7662) and revocation (RFC 7009).

use std::sync::Arc;

use diesel::QueryResult;
use serde::Serialize;
use uuid::Uuid;

use super::authenticate::AccessError;
use super::rotation::{Decision, decide};
use super::termination::EndCause;
use super::{ClockSkewed, Sessions, find_session};
use crate::audit::{self, Event, EventKind};
use crate::clients::{self, RequestingClient, UnknownClient};
use crate::clock::Timestamp;
use crate::database::{StoreError, Tx};
use crate::refresh_token::RefreshToken;
use crate::tokens::Claims;

/// A token of either kind, checked as far as possible without I/O. The sender's token type hint
/// does not matter: the two kinds cannot be confused.
#[derive(Debug)]
pub enum PresentedToken {
    /// Its tag is valid.
    Refresh(RefreshToken),
    /// Its signature and claims are valid. It may have been revoked.
    Access(Box<Claims>),
    /// It is neither, or has expired.
    Invalid,
}

/// The introspection of an active token (RFC 7662 2.2). For an inactive one nothing else is
/// returned.
#[derive(Debug, Default, Serialize)]
pub struct Introspection {
    active: bool,
    #[serde(flatten)]
    token: Option<Active>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Active {
    Access {
        token_type: &'static str,
        #[serde(flatten)]
        claims: Box<Claims>,
    },
    /// RFC 7662 2.2 means the types of RFC 6749 5.1, which are those of access tokens: without a
    /// type and an audience, a refresh token cannot be mistaken for one.
    Refresh {
        iss: String,
        sub: Uuid,
        client_id: String,
        sid: Uuid,
        iat: i64,
        exp: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth_time: Option<i64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        amr: Vec<String>,
    },
}

/// Why the status of a token is unknown.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    /// The revocation status is temporarily unavailable.
    #[error("the revocation list is out of date")]
    Stale,
    /// Whether it has expired cannot be known here.
    #[error(transparent)]
    Clock(#[from] ClockSkewed),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It was issued to another client, and stays valid.
    #[error("the token was issued to another client")]
    WrongClient,
    /// The requesting client is unknown.
    #[error(transparent)]
    Client(#[from] UnknownClient),
    /// The list has too many revocations for further single tokens.
    #[error("the revocation list is full")]
    Full,
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PresentedToken {
    /// The key of the rate limit for requests about this token: its session or its client.
    #[must_use]
    pub fn rate_limit_key(&self) -> Option<Uuid> {
        match self {
            Self::Refresh(token) => Some(token.session),
            Self::Access(claims) => Some(claims.sid.unwrap_or(claims.sub)),
            Self::Invalid => None,
        }
    }
}

impl Sessions {
    /// Parses a token of either kind; the database is asked only for an unknown signing key.
    ///
    /// # Errors
    /// [`AccessError::KeysUnavailable`], [`AccessError::Clock`]: it may be a good one.
    pub async fn read_token(&self, text: &str) -> Result<PresentedToken, AccessError> {
        if let Ok(token) = self.parse_token(text) {
            return Ok(PresentedToken::Refresh(token));
        }
        match self.verify_claims(text).await {
            Ok(claims) => Ok(PresentedToken::Access(Box::new(Arc::unwrap_or_clone(claims)))),
            Err(error @ (AccessError::KeysUnavailable | AccessError::Clock(_))) => Err(error),
            Err(_) => Ok(PresentedToken::Invalid),
        }
    }

    /// Returns whether a token is active, with its claims.
    ///
    /// # Errors
    /// [`IntrospectError`]: it may or may not be active.
    pub async fn introspect(
        &self,
        token: PresentedToken,
    ) -> Result<Introspection, IntrospectError> {
        let token = match token {
            PresentedToken::Invalid => None,
            PresentedToken::Access(claims) => match self.check_revocation(&claims) {
                Ok(()) => Some(Active::Access { token_type: "Bearer", claims }),
                Err(AccessError::Stale) => return Err(IntrospectError::Stale),
                Err(_) => None,
            },
            PresentedToken::Refresh(token) => {
                self.ensure_clock()?;
                self.introspect_refresh_token(token).await?
            }
        };
        Ok(Introspection { active: token.is_some(), token })
    }

    /// A refresh token is active if a refresh without a key would return tokens for it.
    async fn introspect_refresh_token(
        &self,
        token: RefreshToken,
    ) -> Result<Option<Active>, StoreError> {
        let this = self.clone();
        self.db
            .read(move |connection| {
                let Some(row) = find_session(connection, &token)? else { return Ok(None) };
                let (state, now) = (row.state(), this.clock.now());
                let window = this.policy.window(row.client_settings());
                let shown = this.in_tokens(row.subject().authentication, row.created_at);
                Ok(match decide(&state, token.generation, None, now, window) {
                    Decision::Ended(_) | Decision::Expired | Decision::Reuse => None,
                    Decision::RepeatResponse
                    | Decision::RepeatResponseAndStoreKey(_)
                    | Decision::ProvenRetry
                    | Decision::RepeatProvenRetry
                    | Decision::ForgiveLostResponse
                    | Decision::Rotate { .. } => Some(Active::Refresh {
                        iss: this.policy.expected.issuer.clone(),
                        sub: row.user_id.uuid(),
                        client_id: row.client_id,
                        sid: token.session,
                        iat: row.created_at.unix_seconds(),
                        exp: row.expires_at.unix_seconds(),
                        auth_time: shown.as_ref().map(|it| it.at.unix_seconds()),
                        amr: shown.map(|it| it.methods.names()).unwrap_or_default(),
                    }),
                })
            })
            .await
    }

    /// Revokes a token for the client that it was issued to: a refresh token with its session and
    /// all access tokens of it, an access token alone. For an invalid token it succeeds without
    /// effect (RFC 7009 2.2).
    ///
    /// # Errors
    /// [`RevokeError`]: the token stays valid.
    pub async fn revoke(
        &self,
        token: PresentedToken,
        requester: RequestingClient,
        address: &str,
    ) -> Result<(), RevokeError> {
        let (this, address) = (self.clone(), address.to_owned());
        if let PresentedToken::Invalid = token {
            let known = self.db.read(move |c| clients::ensure_known(c, &requester)).await?;
            return Ok(known?);
        }
        self.db.write(move |tx| this.revoke_in_tx(tx, &token, &requester, &address)).await?
    }

    fn revoke_in_tx(
        &self,
        tx: &mut Tx<'_>,
        token: &PresentedToken,
        requester: &RequestingClient,
        address: &str,
    ) -> QueryResult<Result<(), RevokeError>> {
        // The id of a confidential client is not a proof, though the token may be its own.
        if let Err(unknown) = clients::ensure_known(tx.connection(), requester)? {
            return Ok(Err(unknown.into()));
        }
        let issued_to = match token {
            PresentedToken::Refresh(token) => {
                find_session(tx.connection(), token)?.map(|row| row.client_id)
            }
            PresentedToken::Access(claims) => Some(claims.client_id.clone()),
            PresentedToken::Invalid => None,
        };
        if issued_to.as_deref() != Some(&*requester.id()) {
            // RFC 7009 2.1: rejected, and the client is told. It would mistake a success for a
            // revocation.
            return Ok(issued_to.map_or(Ok(()), |_| Err(RevokeError::WrongClient)));
        }
        let now = self.clock.now();
        match token {
            PresentedToken::Refresh(token) => {
                self.end_one(tx, token.session.into(), EndCause::logout(address), now)?;
            }
            PresentedToken::Access(claims) => {
                // The time of issue, by a clock that may have been set back since.
                let issued_at = Timestamp::from_unix_seconds(claims.iat);
                let jti = claims.jti.uuid().into();
                let is_known = self.revocations.contains(jti);
                if !is_known && self.revocations.is_at_capacity() {
                    return Ok(Err(RevokeError::Full));
                }
                self.revocations.revoke(tx, jti, now.max(issued_at))?;
                if is_known {
                    return Ok(Ok(()));
                }
                // A client's own token belongs to no account.
                let revoked = Event::new(EventKind::AccessTokenRevoked).with_address(Some(address));
                let revoked = match claims.sid {
                    Some(session) => {
                        revoked.with_user(claims.sub.into()).with_session(session.into())
                    }
                    None => revoked.with_detail(&claims.client_id),
                };
                audit::record(tx, revoked, now)?;
            }
            PresentedToken::Invalid => {}
        }
        Ok(Ok(()))
    }
}
