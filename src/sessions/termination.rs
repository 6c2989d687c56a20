//! Session termination: of one session, together with all others of an account, or after a restored
//! backup.

use std::slice;
use std::time::Duration;

use diesel::QueryResult;

use super::Sessions;
use super::queries::{self, Ended};
use super::rotation::EndReason;
use crate::audit::{self, Event, EventKind};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, Tx, time};
use crate::revocations::Revocations;

/// The number of sessions that one statement of each kind ends. An event has nine values, and
/// PostgreSQL accepts 65,535 in one statement.
const SESSIONS_PER_STATEMENT: usize = 1000;

/// How long ago a session must have expired to be ended without a blocklist row: far longer than a
/// token's lifetime, and than the clock differences of serving nodes.
const LONG_EXPIRED: Duration = Duration::from_secs(24 * 60 * 60);

/// The cause of a session's end.
#[derive(Clone, Copy, Debug)]
pub struct EndCause<'a> {
    /// The end reason.
    pub reason: EndReason,
    /// The address of the request, unless the service itself or an operator ends it.
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

impl Sessions {
    /// Ends every live session of the user except `except`, in the caller's unit of work.
    ///
    /// # Errors
    /// The database error.
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

/// Ends every live session of a user, in the caller's unit of work. To exclude concurrent logins,
/// the caller has locked the user's row by updating it. Returns their number.
///
/// # Errors
/// The database error.
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

/// Ends one live session for an operator, in the caller's unit of work; false when it was not live.
///
/// # Errors
/// The database error.
pub fn end_session(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    session: Id,
    now: Timestamp,
) -> QueryResult<bool> {
    end_one(revocations, tx, session, EndReason::EndedByOperator.into(), now)
}

/// The account that a session belongs to.
///
/// # Errors
/// The database error.
pub fn owner_of(connection: &mut AnyConnection, session: Id) -> QueryResult<Option<Id>> {
    queries::owner_of(connection, session)
}

/// The number of a user's live sessions.
///
/// # Errors
/// The database error.
pub fn count_of(connection: &mut AnyConnection, user: Id, now: Timestamp) -> QueryResult<i64> {
    queries::count_live(connection, user, now)
}

/// Ends all sessions of all users, in the caller's unit of work, after a backup was restored.
/// Returns their number. The audit trail gets one event for all of them. The caller has to
/// invalidate their access tokens: a list of so many ids would be too long for every node and
/// verifier.
///
/// # Errors
/// The database error.
pub fn end_every_session(tx: &mut Tx<'_>, now: Timestamp) -> QueryResult<usize> {
    let ended = queries::end_every(tx.connection(), EndReason::BackupRestored, now)?;
    let detail = format!("sessions that ended: {ended}");
    audit::record(tx, Event::new(EventKind::BackupRestored).with_detail(detail), now)?;
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

/// Ends the live ones of these sessions and revokes their access tokens. Returns their number.
pub(super) fn end_some(
    revocations: &Revocations,
    tx: &mut Tx<'_>,
    sessions: &[Id],
    cause: EndCause<'_>,
    now: Timestamp,
) -> QueryResult<usize> {
    if let [session] = sessions {
        // By statements that the connection has prepared.
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

/// A session that expired before this time has no valid token left to revoke. PostgreSQL's clock
/// decides, and is asked only if a session seems to have expired. SQLite has no clock to ask, and
/// this process's may be ahead: there every session is listed.
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
    event.with_address(cause.address).with_detail(cause.reason.as_str())
}
