//! The sessions of a user, for their owner and for whoever runs the service.

use diesel::QueryResult;

use super::{PURGE_BATCH, Session, Sessions, rows};
use crate::clock::Timestamp;
use crate::database::{AnyConnection, Id, StoreError, Tx};

impl Sessions {
    /// The user's live sessions, the one used last first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self, user: Id, current: Id) -> Result<Vec<Session>, StoreError> {
        let now = self.clock.now();
        let mut sessions = self.db.read(move |c| rows::live(c, user, now)).await?;
        for session in &mut sessions {
            session.current = session.id == current;
        }
        Ok(sessions)
    }
}

/// The live sessions of a user, the one used last first; none of them is the one that asks.
///
/// # Errors
/// Whatever the database says.
pub fn live_of(
    connection: &mut AnyConnection,
    user: Id,
    now: Timestamp,
) -> QueryResult<Vec<Session>> {
    rows::live(connection, user, now)
}

/// Deletes some of the sessions of a user who is deleted, in the caller's unit of work; whether
/// there may be more.
///
/// # Errors
/// Whatever the database says.
pub fn forget_some_of(tx: &mut Tx<'_>, user: Id) -> QueryResult<bool> {
    rows::delete_of(tx.connection(), user, PURGE_BATCH).map(|deleted| deleted > 0)
}
