//! The sessions of a user, for their owner and for whoever runs the service.

use std::cmp::Reverse;
use std::time::Duration;

use diesel::QueryResult;

use super::rotation::idle_expiry;
use super::{PURGE_BATCH, Session, Sessions, queries};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx};

/// Times in lists over HTTP are multiples of it.
const HOUR: Duration = Duration::from_secs(3600);

impl Sessions {
    /// The user's live sessions, the one used last first, with times rounded to the hour.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self, user: Id, current: Id) -> Result<Vec<Session>, StoreError> {
        let (now, idle_timeout) = (self.clock.now(), self.policy.idle_timeout);
        let mut sessions = self.db.read(move |c| queries::live(c, user, now)).await?;
        for session in &mut sessions {
            session.current = session.id == current;
            round(session, now, idle_timeout);
        }
        // By the rounded time, or the order would tell what the times do not.
        sessions.sort_unstable_by_key(|session| Reverse((session.last_seen_at, session.id)));
        Ok(sessions)
    }
}

/// Rounds the times of a session so that a refresh does not change them while the session is
/// refreshed at least once an hour. A thief who holds an access token could otherwise poll the list,
/// see when the owner refreshes, and use his refresh token within the retry window, where it is not
/// reuse.
fn round(session: &mut Session, now: Timestamp, idle_timeout: Duration) {
    let refreshed = idle_expiry((session.expires_at, session.ends_at), now, idle_timeout);
    session.last_seen_at = hourly(session.last_seen_at, now);
    session.expires_at = hourly(session.expires_at, refreshed);
}

/// Rounds a time that a refresh at this moment would set to `refreshed`. Of an active session the
/// second term is the smaller one, before and after a refresh, and it changes with the hour.
fn hourly(time: Timestamp, refreshed: Timestamp) -> Timestamp {
    time.ceil(HOUR).min(refreshed.floor(HOUR))
}

/// The live sessions of a user with their exact times, the one used last first; none of them is the
/// one that asks.
///
/// # Errors
/// Whatever the database says.
pub fn live_of(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<Vec<Session>> {
    queries::live(connection, user, now)
}

/// Deletes some of the sessions of a user who is deleted, in the caller's unit of work; whether
/// there may be more.
///
/// # Errors
/// Whatever the database says.
pub fn delete_batch_of(tx: &mut Tx<'_>, user: Id) -> QueryResult<bool> {
    queries::delete_of(tx.connection(), user, PURGE_BATCH).map(|deleted| deleted > 0)
}
