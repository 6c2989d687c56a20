//! A login with cookies ends the session that the browser had before, because the browser drops its
//! tokens (ASVS 7.2.4).

use diesel::QueryResult;

use super::rotation::{Decision, EndReason, decide};
use super::termination::EndCause;
use super::{Device, Sessions, find_session};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::refresh_token::RefreshToken;

/// The sessions that a login replaces, as the cookies of its request show them.
#[derive(Clone, Debug, Default)]
pub struct ReplacedSessions {
    refresh_tokens: Vec<RefreshToken>,
    /// Of the access token, which may be all that the browser still has.
    session: Option<Id>,
}

impl Sessions {
    /// The sessions of these refresh tokens and of this access token. Texts that were not issued
    /// here are ignored.
    pub async fn replaced_sessions(
        &self,
        refresh_tokens: &[&str],
        access_token: Option<&str>,
    ) -> ReplacedSessions {
        let session = match access_token {
            Some(token) => self.session_of(token).await,
            None => None,
        };
        ReplacedSessions { refresh_tokens: self.parse_all(refresh_tokens), session }
    }

    /// The session of an access token that was issued here, even if it has expired.
    async fn session_of(&self, token: &str) -> Option<Id> {
        let token = self.verify_signature(token).await.ok()?;
        // Checked at its time of issue, because it may have expired since.
        let issued_at = Timestamp::from_unix_seconds(token.claims.iat);
        token.check_claims(&self.policy.expected, issued_at).ok()?;
        token.claims.sid.map(Id::from)
    }

    /// Ends these sessions for a login from `device`, the same browser, in the caller's unit of
    /// work. A token proves its session, of any account; a token without a session has no effect.
    /// An already rotated refresh token counts as reuse, as at a refresh without a key.
    ///
    /// # Errors
    /// The database error.
    pub fn replace(
        &self,
        tx: &mut Tx<'_>,
        replaced: &ReplacedSessions,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<()> {
        let cause = EndCause { reason: EndReason::Replaced, address: device.address.as_deref() };
        for token in &replaced.refresh_tokens {
            if self.end_if_reused(tx, token, device, now)? == Some(false) {
                self.end_one(tx, token.session.into(), cause, now)?;
            }
        }
        if let Some(session) = replaced.session {
            self.end_one(tx, session, cause, now)?;
        }
        Ok(())
    }

    /// Ends the session of a refresh token if this is a reuse of it, and returns whether it was;
    /// `None` when no session has this token.
    fn end_if_reused(
        &self,
        tx: &mut Tx<'_>,
        token: &RefreshToken,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<Option<bool>> {
        loop {
            let Some(row) = find_session(tx.connection(), token)? else { return Ok(None) };
            let window = self.policy.window(row.client_settings());
            let step = decide(&row.state(), token.generation, None, now, window);
            if step != Decision::Reuse {
                return Ok(Some(false));
            }
            if self.end_reused(tx, token, &row, device, now)? {
                return Ok(Some(true));
            }
        }
    }
}
