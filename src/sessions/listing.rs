//! Lists of a user's sessions, for the owner and for operators.

use std::cmp::Reverse;
use std::time::Duration;

use diesel::QueryResult;
use serde::Serialize;

use super::rotation::idle_expiry;
use super::{PURGE_BATCH, Sessions, queries};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx};

/// The times in an owner's list are rounded to a multiple of it.
const HOUR: Duration = Duration::from_secs(3600);

/// A session in a list of its owner or of an operator.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id, the `sid` of its tokens.
    pub id: Id,
    /// The label given at login.
    pub label: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// The address that it was last used from.
    pub address: Option<String>,
    /// When the login took place.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_seen_at: Timestamp,
    /// When it reaches its idle timeout.
    pub expires_at: Timestamp,
    /// When it reaches its absolute timeout.
    #[serde(skip)]
    pub ends_at: Timestamp,
    /// Whether it is the caller's own session; absent for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<bool>,
}

impl Sessions {
    /// The user's live sessions, the most recently used first, with times rounded to the hour.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self, user: Id, current: Id) -> Result<Vec<Session>, StoreError> {
        let (now, idle_timeout) = (self.clock.now(), self.policy.idle_timeout);
        let mut sessions = self.db.read(move |c| queries::live(c, user, now)).await?;
        for session in &mut sessions {
            session.current = Some(session.id == current);
            round(session, now, idle_timeout);
        }
        // By the rounded time, because the order would otherwise reveal the exact times.
        sessions.sort_unstable_by_key(|session| Reverse((session.last_seen_at, session.id)));
        Ok(sessions)
    }
}

/// Rounds the times of a session so that a refresh does not change them while the session is
/// refreshed at least once an hour. Otherwise a thief who holds an access token could poll the
/// list, see when the owner refreshes, and use his refresh token within the retry window, where it
/// is not detected as reuse.
fn round(session: &mut Session, now: Timestamp, idle_timeout: Duration) {
    let refreshed = idle_expiry((session.expires_at, session.ends_at), now, idle_timeout);
    session.last_seen_at = hourly(session.last_seen_at, now);
    session.expires_at = hourly(session.expires_at, refreshed);
}

/// Rounds a time that a refresh at this time would set to `refreshed`. For an active session the
/// second term is the smaller one, before and after a refresh, and it changes with the hour.
fn hourly(time: Timestamp, refreshed: Timestamp) -> Timestamp {
    time.ceil(HOUR).min(refreshed.floor(HOUR))
}

/// The live sessions of a user with their exact times, the most recently used first; none of them
/// is marked as current.
///
/// # Errors
/// The database error.
pub fn live_of(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<Vec<Session>> {
    queries::live(connection, user, now)
}

/// Deletes a batch of the sessions of a user being deleted, in the caller's unit of work. Returns
/// whether there may be more.
///
/// # Errors
/// The database error.
pub fn delete_batch_of(tx: &mut Tx<'_>, user: Id) -> QueryResult<bool> {
    queries::delete_of(tx.connection(), user, PURGE_BATCH).map(|deleted| deleted > 0)
}
