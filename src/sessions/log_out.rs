//! Logout: of the caller's session, of the owner's others, or of a refresh token's.

use super::authenticate::AuthenticatedSession;
use super::rotation::EndReason;
use super::{EndCause, Sessions, find_session, queries};
use crate::database::{Id, StoreError};
use crate::refresh_token::RefreshToken;

/// The sessions of a user that a logout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionScope {
    /// The caller's own.
    This,
    /// All but the caller's own.
    Others,
    /// All of them.
    All,
}

/// Why a logout by refresh token failed.
#[derive(Debug, thiserror::Error)]
pub enum LogOutError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No session has this token.
    #[error("no session has this refresh token")]
    Unknown,
}

impl Sessions {
    /// Ends one live session of the user by its id, for a request from `address`; false when the
    /// user has no such live session.
    ///
    /// # Errors
    /// [`StoreError`]: the session is still live.
    pub async fn end(&self, user: Id, session: Id, address: &str) -> Result<bool, StoreError> {
        let (this, address) = (self.clone(), address.to_owned());
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                let own = queries::not_revoked(tx.connection(), user)?.contains(&session);
                let cause = EndCause { reason: EndReason::EndedByUser, address: Some(&address) };
                Ok(own && this.end_one(tx, session, cause, now)?)
            })
            .await
    }

    /// Logs out: ends the sessions of the user in `scope`, for a request from `address`.
    ///
    /// # Errors
    /// [`StoreError`]: none of them has ended.
    pub async fn log_out(
        &self,
        access: AuthenticatedSession,
        scope: SessionScope,
        address: &str,
    ) -> Result<(), StoreError> {
        let AuthenticatedSession { user, session, .. } = access;
        let (this, address) = (self.clone(), address.to_owned());
        self.db
            .write(move |tx| {
                let (now, cause) = (this.clock.now(), EndCause::logout(&address));
                match scope {
                    SessionScope::This => {
                        this.end_one(tx, session, cause, now)?;
                    }
                    SessionScope::Others => this.end_all(tx, user, Some(session), cause, now)?,
                    SessionScope::All => this.end_all(tx, user, None, cause, now)?,
                }
                Ok(())
            })
            .await
    }

    /// Logs out the session of a refresh token of any generation. A session that has ended already
    /// is a success.
    ///
    /// # Errors
    /// [`LogOutError`]: no session has ended.
    pub async fn log_out_by_token(
        &self,
        token: RefreshToken,
        address: &str,
    ) -> Result<(), LogOutError> {
        let (this, address) = (self.clone(), address.to_owned());
        let known = self
            .db
            .write(move |tx| {
                let known = find_session(tx.connection(), &token)?.is_some();
                if known {
                    let now = this.clock.now();
                    this.end_one(tx, token.session.into(), EndCause::logout(&address), now)?;
                }
                Ok(known)
            })
            .await?;
        if known { Ok(()) } else { Err(LogOutError::Unknown) }
    }

    /// Whether every session of the user has ended, expired ones included.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn have_all_ended(&self, user: Id) -> Result<bool, StoreError> {
        self.db.read(move |c| Ok(queries::not_revoked(c, user)?.is_empty())).await
    }
}
