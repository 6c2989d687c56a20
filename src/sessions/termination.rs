//! How sessions end: by a logout, by their owner from another session, with all others of an account,
//! or because a backup was restored.

use std::slice;
use std::time::Duration;

use diesel::QueryResult;

use super::authenticate::AuthenticatedSession;
use super::queries::Ended;
use super::rotation::EndReason;
use super::{Sessions, find_session, queries};
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx, time};
use crate::refresh_token::RefreshToken;
use crate::revocations::Revocations;

/// Sessions that one statement of each kind ends. An event has eight values, and PostgreSQL takes
/// 65,535 at once.
const SESSIONS_PER_STATEMENT: usize = 1000;

/// How long ago a session must have expired to be ended without a row of the blocklist: far longer
/// than a token lives, and than the clocks of nodes that serve differ.
const LONG_EXPIRED: Duration = Duration::from_secs(24 * 60 * 60);

/// Which of a user's sessions a logout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one that asks.
    This,
    /// All but the one that asks.
    Others,
    /// Every one.
    All,
}

/// What ends a session.
#[derive(Clone, Copy, Debug)]
pub struct EndCause<'a> {
    /// Why it ends.
    pub reason: EndReason,
    /// Where that was asked for, unless the service ends it by itself or an operator does.
    pub address: Option<&'a str>,
}

impl From<EndReason> for EndCause<'_> {
    fn from(reason: EndReason) -> Self {
        Self { reason, address: None }
    }
}

impl<'a> EndCause<'a> {
    pub(super) const fn logout(address: &'a str) -> Self {
        Self { reason: EndReason::Logout, address: Some(address) }
    }
}

/// Why a logout by refresh token did nothing.
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
    /// Ends one live session of the user by its id, at the wish of whoever is at `address`; false
    /// when the user has none of that id.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be stored: the session is still live.
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

    /// Logs out: ends the sessions of the user that `scope` names, as it was asked for at `address`.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be stored: none of them has ended.
    pub async fn log_out(
        &self,
        access: AuthenticatedSession,
        scope: Scope,
        address: &str,
    ) -> Result<(), StoreError> {
        let AuthenticatedSession { user, session } = access;
        let (this, address) = (self.clone(), address.to_owned());
        self.db
            .write(move |tx| {
                let (now, cause) = (this.clock.now(), EndCause::logout(&address));
                match scope {
                    Scope::This => {
                        this.end_one(tx, session, cause, now)?;
                    }
                    Scope::Others => this.end_all(tx, user, Some(session), cause, now)?,
                    Scope::All => this.end_all(tx, user, None, cause, now)?,
                }
                Ok(())
            })
            .await
    }

    /// Logs out the session of a refresh token, whatever its generation. A session that has ended
    /// already is a success.
    ///
    /// # Errors
    /// [`LogOutError`]: nothing has ended.
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

    /// Ends every live session of the user but `except`, in the caller's unit of work.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn end_all(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        except: Option<Id>,
        cause: EndCause<'_>,
        now: Timestamp,
    ) -> QueryResult<()> {
        let all = queries::not_revoked(tx.connection(), user)?;
        let ids: Vec<Id> = all.into_iter().filter(|id| Some(*id) != except).collect();
        end_some(&self.revocations, tx, &ids, cause, now).map(drop)
    }

    /// Ends a live session and revokes its access tokens; false when it was not live.
    pub(super) fn end_one(
        &self,
        tx: &mut Tx<'_>,
        session: Id,
        cause: EndCause<'_>,
        now: Timestamp,
    ) -> QueryResult<bool> {
        end_one(&self.revocations, tx, session, cause, now)
    }
}

/// Ends every live session of a user, in the caller's unit of work, which has locked the user's row
/// by updating it where no login may slip through; how many.
///
/// # Errors
/// Whatever the database says.
pub fn end_sessions_of(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    user: Id,
    reason: EndReason,
    now: Timestamp,
) -> QueryResult<usize> {
    let ids = queries::not_revoked(tx.connection(), user)?;
    end_some(revocations, tx, &ids, reason.into(), now)
}

/// Ends one live session at the wish of an operator, in the caller's unit of work; false when it
/// was not live.
///
/// # Errors
/// Whatever the database says.
pub fn end_session(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    session: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    end_one(revocations, tx, session, EndReason::EndedByUser.into(), now)
}

/// How many live sessions a user has.
///
/// # Errors
/// Whatever the database says.
pub fn count_of(connection: &mut AnyConnection, user: Id, now: Timestamp) -> QueryResult<i64> {
    queries::count_live(connection, user, now)
}

/// Ends every session of everybody, in the caller's unit of work, after a backup was restored; how
/// many. The trail gets one event for all of them. What their access tokens are still good for is for the caller to end: a list of so many
/// ids would be too long for every node and verifier.
///
/// # Errors
/// Whatever the database says.
pub fn end_every_session(tx: &mut Tx<'_>, now: Timestamp) -> QueryResult<usize> {
    let ended = queries::end_every(tx.connection(), EndReason::BackupRestored, now)?;
    let detail = format!("sessions that ended: {ended}");
    audit::record(tx, Event::new(EventKind::BackupRestored).detail(detail), now)?;
    Ok(ended)
}

/// Ends a live session and revokes its access tokens; false when it was not live.
pub(super) fn end_one(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    session: Id,
    cause: EndCause<'_>,
    now: Timestamp,
) -> QueryResult<bool> {
    let Some(ended) = queries::end(tx.connection(), session, cause.reason, now)? else {
        return Ok(false);
    };
    let long_expired = long_expired(tx, slice::from_ref(&ended), now)?;
    if long_expired.is_none_or(|before| ended.expires_at >= before) {
        revocations.revoke(tx, session, ended.last_issued(now))?;
    }
    audit::record(tx, event(&ended, cause), now)?;
    Ok(true)
}

/// Ends those of these sessions that are live, and revokes their access tokens; how many.
pub(super) fn end_some(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    sessions: &[Id],
    cause: EndCause<'_>,
    now: Timestamp,
) -> QueryResult<usize> {
    if let [session] = sessions {
        // By statements that the connection knows.
        return end_one(revocations, tx, *session, cause, now).map(usize::from);
    }
    let mut count = 0;
    for piece in sessions.chunks(SESSIONS_PER_STATEMENT) {
        let ended = queries::end_some(tx.connection(), piece, cause.reason, now)?;
        let long_expired = long_expired(tx, &ended, now)?;
        let listed =
            ended.iter().filter(|ended| long_expired.is_none_or(|at| ended.expires_at >= at));
        let ids = listed.map(|ended| (ended.session, ended.last_issued(now)));
        revocations.revoke_all(tx, ids, now)?;
        let events = ended.iter().map(|ended| event(ended, cause)).collect();
        audit::record_all(tx, events, now)?;
        count += ended.len();
    }
    Ok(count)
}

/// A session that expired before this moment has no token left to revoke. PostgreSQL's clock says so,
/// and is asked only if one looks like that. SQLite has no clock that could be asked, and the own one
/// may be ahead: there every session is listed.
fn long_expired(
    tx: &mut Tx<'_>,
    ended: &[Ended],
    now: Timestamp,
) -> QueryResult<Option<Timestamp>> {
    if ended.iter().all(|ended| ended.expires_at >= now.minus(LONG_EXPIRED)) {
        return Ok(None);
    }
    Ok(time::server_time(tx.connection())?.map(|now| now.minus(LONG_EXPIRED)))
}

fn event(ended: &Ended, cause: EndCause<'_>) -> Event {
    let event =
        Event::new(EventKind::SessionEnded).with_user(ended.user).with_session(ended.session);
    event.with_address(cause.address).detail(cause.reason.as_str())
}
